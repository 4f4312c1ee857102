"""The documentation names only links, pictures, commands, labels and numbers that exist, in both languages."""

import importlib.util
import os
import re
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from support.system import REPOSITORY

ADDON = REPOSITORY / "wechat_merchant_bind"
DESCRIPTION = ADDON / "static" / "description"
DOCS = REPOSITORY / "docs"
# Each document in English and in Chinese.
PAIRS = [
    (english, english.with_suffix(".zh-CN.md"))
    for english in (REPOSITORY / "README.md", *sorted(DOCS.glob("*.md")))
    if english.with_suffix(".zh-CN.md").exists()
]
TRANSLATED = [document for pair in PAIRS for document in pair]
GUIDES = [document for document in TRANSLATED if document.parent == DOCS]
DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), *sorted(DOCS.glob("*.md"))]
FRAGMENTS = sorted((ADDON / "readme").glob("*.md"))
README_LINES = 150
README_PICTURES = 4
# Numbers of the code in the production guide: the file, the constant, the phrases of both languages.
NUMBERS = [
    ("models/outbox/sender.py", "THREADS", ("{} calls in flight", "{} 个调用在途")),
    ("models/outbox/sender.py", "RUN_SECONDS", ("run for {} seconds", "运行 {} 秒")),
    ("models/outbox/sender.py", "LEASE_SECONDS", ("a lease of {} seconds", "租约 {} 秒")),
    ("models/outbox/wechat_message.py", "VALID_HOURS", ("validity, {} hours", "默认 {} 小时")),
    ("models/inbox/dispatcher.py", "HANDLING_THREADS", ("handles pushes in {} threads", "处理推送的线程（{} 个）")),
]
ADMIN_NUMBERS = [
    ("models/binding/wechat_bind_code.py", "SHARE_DAYS", ("lives {} days", "链接 {} 天内有效")),
    ("models/account/wechat_account.py", "MAX_CODE_VALIDITY_DAYS", ("valid for {} days", "默认 {} 天有效")),
    ("models/binding/wechat_bind_request.py", "REQUEST_ATTEMPTS", ("{} attempts a person", "每人 {} 次")),
    ("models/binding/wechat_bind_request.py", "CODE_ATTEMPTS", ("{} a code", "每个码 {} 次")),
    ("models/binding/wechat_binding.py", "UNDO_HOURS", ("undoes the binding for {} hours", "{} 小时内可以点链接撤销")),
    ("models/inbox/dispatcher.py", "HANDLING_SECONDS", ("after {} seconds", "{} 秒后先告诉")),
    ("controllers/webhook.py", "FAILURES_A_MINUTE", ("limited to {} a minute", "每分钟 {} 次")),
    ("tools/wechat_http.py", "ANSWER_SECONDS", ("within {} seconds", "应答限 {} 秒")),
    ("models/account/wechat_account.py", "WARN_PERCENT", ("at {} %", "用到 {}%")),
    ("models/outbox/wechat_message.py", "VALID_HOURS", ("validity ({} hours", "有效期（{} 小时")),
]
OUTDATED = "run ./setup/readme"

spec = importlib.util.spec_from_file_location("readme", REPOSITORY / "setup" / "lib" / "readme.py")
readme = importlib.util.module_from_spec(spec)
spec.loader.exec_module(readme)


def test_readme():
    """README.rst is made from the present fragments and manifest, and was not edited by hand."""
    text = (ADDON / "README.rst").read_text()
    assert f"source digest: {readme.source_digest(ADDON)}\n" in text, OUTDATED
    body = text.split("!!\n\n", 1)[1]
    assert f"text digest: {readme.text_digest(body)}\n" in text, OUTDATED
    for heading in [readme.SECTIONS[name] for name in readme.read_fragments(ADDON) if name in readme.SECTIONS]:
        assert f"\n{heading}\n{'=' * len(heading)}\n" in body


def test_authors():
    """The addon claims no other authors than its own: it is no project of the Odoo Community Association."""
    assert readme.read_manifest(ADDON)["author"] == "wechat_merchant_bind contributors"
    pylintrc = (REPOSITORY / ".pylintrc").read_text()
    assert "manifest-required-authors=wechat_merchant_bind contributors\n" in pylintrc, "else it asks for its own"
    fragments = (ADDON / "readme").glob("*.md")
    shown = (ADDON / "README.rst", DESCRIPTION / "index.html", *fragments, *REPOSITORY.glob("README*.md"))
    for file in shown:
        assert not re.search(r"\bOCA\b|Odoo Community|odoo-community", file.read_text()), file.name


def test_page():
    """The page is the README, with pictures that are beside it: Odoo looks for them there."""
    page = (DESCRIPTION / "index.html").read_text()
    assert page == readme.make_page(ADDON), OUTDATED
    assert 'class="system-message' not in page
    pictures = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tag == "img" and pictures.append(dict(attributes)["src"])
    parser.feed(page)
    assert {f"{name}.png" for name in readme.PICTURES} == set(pictures)
    assert all((DESCRIPTION / picture).is_file() for picture in pictures)


def test_pictures():
    """The store's banner has its size, and no picture is heavy."""
    [banner] = readme.read_manifest(ADDON)["images"]
    assert Image.open(ADDON / banner).size == (1120, 560)
    assert max(file.stat().st_size for file in DESCRIPTION.glob("*.png")) < 150_000


def by_name(document: Path) -> str:
    """Name a parameter by its file."""
    return document.name


def prose(document: Path) -> str:
    """Return a document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def code_blocks(document: Path) -> list[tuple[str, list[str]]]:
    """Return language and lines of the code blocks, without comments; of a diagram only the number of lines counts."""
    blocks = []
    for language, code in re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        lines = [re.sub(r"(^|\s+)# .*", "", line) for line in code.splitlines()]
        blocks.append((language, ["" for _line in lines] if language == "mermaid" else lines))
    return blocks


def headings(document: Path) -> list[tuple[int, str]]:
    """Return level and text of the headings."""
    return [(len(marks), text) for marks, text in re.findall(r"^(#+) (.+)$", prose(document), re.MULTILINE)]


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _level, text in headings(document)}


def targets(document: Path) -> list[str]:
    """Return the links and pictures of a document."""
    return re.findall(r"(?:\]\(|<img src=\")([^)\"]+)", prose(document).replace("`", ""))


def pictures(document: Path) -> list[str]:
    """Return the names of a document's pictures."""
    return [Path(target).name for target in targets(document) if target.endswith(".png")]


def shape(document: Path) -> list[str]:
    """Return the first characters of the lines of lists and tables, which both languages have alike."""
    lines = re.findall(r"^(\||\* |\d+\. |#+ |> |!\[|<img )(.*)$", prose(document), re.MULTILINE)
    shapes = [start + "|" * text.count("|") if start == "|" else start for start, text in lines]
    return [start for number, start in enumerate(shapes) if start != "> " or shapes[number - 1] != "> "]


def translations(*files: Path) -> dict[str, set[str]]:
    """Return the terms of translation files that take one line, with their translations."""
    terms: dict[str, set[str]] = {}
    for file in files:
        for term, translation in re.findall(r'^msgid "(.+)"\nmsgstr "(.+)"$', file.read_text("utf-8"), re.MULTILINE):
            terms.setdefault(term, set()).add(translation)
    return terms


@pytest.fixture(scope="module")
def own_terms() -> dict[str, set[str]]:
    """The addon's terms and their Chinese translations."""
    return translations(ADDON / "i18n" / "zh_CN.po")


@pytest.fixture(scope="module")
def odoo_terms() -> dict[str, set[str]]:
    """The terms of the Odoo addons that the guides mention."""
    tree = Path(os.environ["ODOO_TREE"])
    names = ("base", "base_setup", "mail", "portal", "privacy_lookup", "web")
    files = [tree / folder / name / "i18n" / "zh_CN.po" for folder in ("addons", "odoo/addons") for name in names]
    return translations(*(file for file in files if file.exists()))


@pytest.fixture(scope="module")
def menu_paths() -> set[tuple[str, ...]]:
    """The menus of the addon, in English, each as the names on its way."""
    files = [file for folder in ("views", "report") for file in (ADDON / folder).glob("*.xml")]
    elements = [element for file in files for element in ElementTree.parse(file).getroot().iter("record")]
    records = {element.get("id"): element.findtext("field[@name='name']") for element in elements}
    paths = set()

    def walk(element, path):
        for menu in element.findall("menuitem"):
            menu_path = (*path, menu.get("name") or records[menu.get("action")])
            paths.add(menu_path)
            walk(menu, menu_path)

    walk(ElementTree.parse(ADDON / "views" / "wechat_menus.xml").getroot(), ())
    return paths


@pytest.mark.parametrize("document", PAIRS[0], ids=by_name)
def test_readme_is_short(document):
    """A README takes a screen and a half, and shows four pictures."""
    assert len(document.read_text("utf-8").splitlines()) <= README_LINES
    assert len(pictures(document)) == README_PICTURES


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_links(document):
    """Every relative link leads to a file of the repository, and to a heading of it if it names one."""
    for target in targets(document):
        if not target.startswith(("http:", "https:")):
            path, _hash, anchor = target.partition("#")
            file = document.parent / path if path else document
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("language", [0, 1], ids=["english", "chinese"])
def test_every_picture_is_shown(language):
    """The documents of each language show all pictures."""
    shown = {name for pair in PAIRS for name in pictures(pair[language])}
    assert shown == {file.name for file in (DOCS / "images").iterdir()}


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[pair[0].name for pair in PAIRS])
def test_languages_agree(english, chinese):
    """Both languages have the same headings, lists, tables, pictures and code blocks."""
    assert [level for level, _text in headings(english)] == [level for level, _text in headings(chinese)]
    assert code_blocks(english) == code_blocks(chinese)
    assert pictures(english) == pictures(chinese)
    assert shape(english) == shape(chinese)


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_commands_exist(document):
    """Every command of setup/ that a document names is there, and knows the options that are given."""
    command = r"(?<![\w/.-])(?:\./)?(setup/(?:docker/)?[a-z-]+)(?![\w/.-])((?: --[a-z-]+)*)"
    for name, options in re.findall(command, document.read_text("utf-8")):
        file = REPOSITORY / name
        assert file.is_dir() or os.access(file, os.X_OK), name
        if options:
            assert set(options.split()) <= set(re.findall(r"--[a-z-]+", file.read_text("utf-8"))), name


@pytest.mark.parametrize("document", [*TRANSLATED, DOCS / "for-developers.md", *FRAGMENTS], ids=by_name)
def test_labels_exist(document, own_terms, odoo_terms, menu_paths):
    """Bold text, italics in the addon's README, 「」 in Chinese: labels of the addon or of Odoo, or paths of menus."""
    if ".zh-CN" in document.name:
        labels = re.findall(r"「(.+?)」", prose(document), re.DOTALL)
        known = set().union(*own_terms.values(), *odoo_terms.values())
        paths = {" > ".join(names) for path in menu_paths for names in product(*(own_terms[name] for name in path))}
        root = "微信 > "
    else:
        text = " ".join(re.sub(r"\n(> )? *|`[^`]*`", " ", prose(document)).split())
        labels = re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)" if document in FRAGMENTS else r"\*\*(.+?)\*\*", text)
        known = {*own_terms, *odoo_terms}
        paths = {" > ".join(path) for path in menu_paths}
        root = "WeChat > "
    menus = {label for label in labels if label.startswith(root)}
    assert not menus - paths
    assert not {name for label in labels if label not in menus for name in label.split(" > ")} - known


@pytest.mark.parametrize("guide", GUIDES, ids=by_name)
def test_guide(guide, config):
    """The guides name no setting of Odoo, system parameter, measure or log line that does not exist."""
    text = guide.read_text("utf-8")
    sources = "".join(file.read_text("utf-8") for file in ADDON.glob("[!t]*/**/*.py"))
    settings = re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)
    lines = re.findall(r"^\| `(wechat\.\w+: [^=`]+)(?: \w+=[^`]*)?`", text, re.MULTILINE)
    expected = {"production": settings, "monitoring": lines}.get(guide.name.partition(".")[0])
    assert expected is None or len(expected) > 5
    assert set(settings) <= set(config)
    for line in lines:
        assert f'"{line}' in sources, f"nothing logs {line}"
    for parameter in set(re.findall(r"wechat_merchant_bind\.(?!health_)\w+", text)):
        assert f'"{parameter}"' in sources
    for threshold in re.findall(r"[(（]`([a-z]+_(?:minutes|days))`[)）]", text):
        assert f'"{threshold}"' in sources, threshold
    measures = "".join(file.read_text("utf-8") for file in (REPOSITORY / "tests" / "bench").glob("*.py"))
    for measure in re.findall(r"--only (\w+)|\| `(\w+_(?:s|mb|noop|pool))` \|", text):
        assert f'"{measure[0] or measure[1]}"' in measures


@pytest.mark.parametrize("document", [*DOCUMENTS, *FRAGMENTS], ids=by_name)
def test_methods_exist(document):
    """Every method that a document offers is defined."""
    sources = "".join(file.read_text("utf-8") for file in ADDON.glob("**/*.py"))
    methods = re.findall(
        r"\b(_(?:message_)?wechat_\w+|_prepare_\w+|action_wechat_\w+|assert(?:No)?Wechat\w*)\(",
        document.read_text("utf-8"),
    )
    assert not {method for method in methods if f"def {method}(" not in sources}


@pytest.mark.parametrize(
    ("guide", "file", "name", "phrases"),
    [("production", *number) for number in NUMBERS] + [("admin-guide", *number) for number in ADMIN_NUMBERS],
)
def test_numbers(guide, file, name, phrases):
    """The guides give the code's own numbers."""
    [value] = re.findall(rf"^{name} = ([\d.]+)$", (ADDON / file).read_text("utf-8"), re.MULTILINE)
    for language, phrase in zip(("", ".zh-CN"), phrases, strict=True):
        text = " ".join((DOCS / f"{guide}{language}.md").read_text("utf-8").split())
        assert phrase.format(value.removesuffix(".0")) in text
