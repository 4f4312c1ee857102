"""What the Apps store and the package index show is in step with the fragments that ./setup/readme makes it from."""

import importlib.util
import re
from html.parser import HTMLParser

import pytest
from PIL import Image
from support.system import REPOSITORY

ADDON = REPOSITORY / "wechat_merchant_bind"
DESCRIPTION = ADDON / "static" / "description"
# What the production guide says about the code: where a number stands there, and how in the guides.
NUMBERS = [
    ("models/wechat_message_drain.py", "THREADS", ("{} calls in flight", "{} 个调用在途")),
    ("models/wechat_message_drain.py", "RUN_SECONDS", ("run for {} seconds", "运行 {} 秒")),
    ("models/wechat_message_lane.py", "LEASE_SECONDS", ("a lease of {} seconds", "租约 {} 秒")),
    ("models/wechat_message_queue.py", "BUCKETS", ("one of {}\nbuckets", "{} 个桶")),
    ("models/wechat_message_queue.py", "VALID_HOURS", ("validity, {} hours", "默认 {} 小时")),
    ("controllers/webhook.py", "HANDLING_THREADS", ("handles pushes ({})", "处理推送的线程（{} 个）")),
]
OUTDATED = "run ./setup/readme"
GUIDES = [
    REPOSITORY / "docs" / f"{name}{language}.md" for name in ("production", "monitoring") for language in ("", ".zh-CN")
]

spec = importlib.util.spec_from_file_location("readme", REPOSITORY / "setup" / "lib" / "readme.py")
readme = importlib.util.module_from_spec(spec)
spec.loader.exec_module(readme)


def test_readme():
    """README.rst was made from the present fragments and manifest, and nobody has edited it since."""
    text = (ADDON / "README.rst").read_text()
    assert f"source digest: {readme.source_digest(ADDON)}\n" in text, OUTDATED
    body = text.split("!!\n\n", 1)[1]
    assert f"text digest: {readme.text_digest(body)}\n" in text, OUTDATED
    for heading in [readme.SECTIONS[name] for name in readme.read_fragments(ADDON) if name in readme.SECTIONS]:
        assert f"\n{heading}\n{'=' * len(heading)}\n" in body


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


def test_links():
    """Every file that the documentation links to is in the repository."""
    for document in (*REPOSITORY.glob("README*.md"), *(REPOSITORY / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            assert target.startswith("http") or (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_guide(guide, config):
    """The guides name no setting of Odoo, system parameter, measure or log line that does not exist."""
    text = guide.read_text()
    sources = "".join(file.read_text() for file in ADDON.glob("[!t]*/**/*.py"))
    settings = re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)
    lines = re.findall(r"^\| `(wechat\.\w+: [^=`]+)(?: \w+=[^`]*)?`", text, re.MULTILINE)
    assert len(settings) > 5 or len(lines) > 5
    assert set(settings) <= set(config)
    for line in lines:
        assert f'"{line}' in sources, f"nothing logs {line}"
    for parameter in set(re.findall(r"wechat_merchant_bind\.(?!health_)\w+", text)):
        assert f'"{parameter}"' in sources
    measures = "".join(file.read_text() for file in (REPOSITORY / "tests" / "bench").glob("*.py"))
    for measure in re.findall(r"--only (\w+)", text):
        assert f'"{measure}"' in measures


@pytest.mark.parametrize(("file", "name", "phrases"), NUMBERS, ids=[name for _file, name, _phrases in NUMBERS])
def test_numbers(file, name, phrases):
    """The production guide gives the code's own numbers."""
    [value] = re.findall(rf"^{name} = (\d+)$", (ADDON / file).read_text(), re.MULTILINE)
    for guide, phrase in zip(GUIDES[:2], phrases, strict=True):
        assert phrase.format(value) in guide.read_text(), guide.name
