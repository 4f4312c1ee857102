"""What the webhook takes for an authentic push: counter-examples wanted, by Hypothesis and by mutating real pushes.

The oracle: only what was sealed with the account's keys is opened, and then it says exactly what was sealed. All else
ends in one of the two refusals. With the pushes of test_fuzz_webhook.py and tests/faults/test_mutated_pushes.py, which
go through HTTP, these are 5,000 cases; ./setup/test --all plays 100,000.
"""

import os
import random
import string
from collections import Counter
from unittest.mock import patch

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ...controllers import webhook
from ...tools import wechat_xml
from ..common import WechatCase
from ..common_push import sign, to_xml
from ..tools.test_crypto import APP_ID, KEY, TIMESTAMP, TOKEN, envelope, message, signed

# Of each property, and of mutated pushes.
CASES, MUTATIONS = (5_000, 60_000) if os.environ.get("WECHAT_TEST_ALL") else (400, 2_600)
SEED = 20261124
FUZZ = settings(
    max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)
ORIGINAL_ID = "gh_97417a04a28d"
NAMES = (
    "FromUserName",
    "CreateTime",
    "MsgType",
    "Event",
    "EventKey",
    "Ticket",
    "Content",
    "MsgId",
    "Status",
    "Encrypt",
)

# What XML can hold, and what a CDATA section can.
legal = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\ufffe\uffff").filter(
        lambda character: character >= " " or character in "\t\n"
    ),
    max_size=40,
).filter(lambda text: "]]>" not in text)
fields = st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(string.ascii_letters, min_size=1)), legal).map(
    lambda values: {**values, "ToUserName": ORIGINAL_ID}
)
JUNK = (
    b"]]>",
    b"<xml/>",
    b"<xml><ToUserName>gh_97417a04a28d</ToUserName></xml>",
    b"<!DOCTYPE xml [<!ENTITY a 'b'>]><xml>&a;</xml>",
    b"<xml>" + b"<a>" * 300,
    b"\xff\xfe",
    b"\xef\xbb\xbf<xml/>",
    b"\0" * 32,
)
junk = st.one_of(st.binary(max_size=200), st.sampled_from(JUNK))


@st.composite
def mutated(draw, body):
    """Return a strategy of bytes with parts cut out, doubled, or replaced with junk."""
    for _time in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 40)))
        body = body[:start] + draw(st.one_of(st.just(body[start:end] * 2), junk)) + body[end:]
    return body


contents = st.one_of(junk, fields.map(to_xml).map(str.encode).flatmap(mutated))


def seal(content, **options):
    """Return query and body of a push with these bytes in a valid envelope."""
    encrypt, signature, timestamp, nonce = envelope(message(content), **options)
    query = {"timestamp": timestamp, "nonce": nonce, "msg_signature": signature, "encrypt_type": "aes"}
    return {**query, "signature": sign(TOKEN, timestamp, nonce)}, to_xml({"Encrypt": encrypt}).encode()


class TestFuzzOpening(WechatCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        keys = {"webhook_token": TOKEN, "encoding_aes_key": KEY, "app_id": APP_ID, "original_id": ORIGINAL_ID}
        cls.account.write(keys)
        cls.env.flush_all()

    def setUp(self):
        super().setUp()
        self.webhook = webhook.WechatWebhook()
        # The published messages were signed years ago.
        self.startPatcher(patch.object(webhook.time, "time", return_value=float(TIMESTAMP)))

    def _open(self, query, body):
        """Return the fields of an opened push, or the name of its refusal. Any other outcome fails."""
        try:
            return self.webhook._open_push(self.account, query, body).message
        except webhook.PushForbiddenError:
            return "forbidden"
        except webhook.PushRefusedError as error:
            return error.refusal

    def assertInsideHolds(self, content):
        """Check that a valid envelope is opened to the parsed content, or refused.

        It must never be taken for a forgery, which would be limited.
        """
        opened = self._open(*seal(content))
        if isinstance(opened, str):
            self.assertIn(opened, ("malformed", "other_account"))
            return opened
        self.assertEqual(opened, wechat_xml.parse(content))
        self.assertEqual(opened["ToUserName"], ORIGINAL_ID)
        return "opened"

    def assertOutsideHolds(self, query, body, asked, sent):
        """Check that a push is opened only if its signed parts are unchanged."""
        opened = self._open(asked, sent)
        if isinstance(opened, str):
            self.assertIn(opened, ("forbidden", "not_encrypted", "malformed", "clock_skew"))
            return opened
        # The plain signature is not asked about, and a body may be written in another way.
        signed_parts = ("timestamp", "nonce", "msg_signature", "encrypt_type")
        self.assertEqual([asked.get(name) for name in signed_parts], [query[name] for name in signed_parts])
        self.assertEqual(wechat_xml.parse(sent)["Encrypt"], wechat_xml.parse(body)["Encrypt"])
        return "opened"

    def test_an_encrypted_push_is_opened_unchanged(self):
        @FUZZ
        @given(fields)
        def check(values):
            self.assertEqual(self._open(*seal(to_xml(values).encode())), values)

        check()

    def test_any_content_in_a_valid_envelope_is_parsed_or_refused(self):

        @FUZZ
        @given(contents)
        def check(content):
            event(self.assertInsideHolds(content))

        check()

    def test_requests_with_other_signed_parts_are_refused(self):
        query, body = seal(to_xml({"ToUserName": ORIGINAL_ID, "MsgType": "event"}).encode())
        other = st.one_of(st.none(), st.text(max_size=50), st.sampled_from(sorted(query.values())))
        changes = st.dictionaries(st.sampled_from(sorted(query)), other)

        @FUZZ
        @given(changes, st.one_of(st.just(body), junk, mutated(body)))
        def check(changed, sent):
            asked = {name: value for name, value in {**query, **changed}.items() if value is not None}
            event(self.assertOutsideHolds(query, body, asked, sent))

        check()

    def test_any_cipher_text_with_a_valid_signature_is_opened_or_refused(self):
        """The token's holder may encrypt with another key, pad wrongly, or not encrypt at all."""

        blocks = st.integers(0, 8).flatmap(lambda count: st.binary(min_size=count * 16, max_size=count * 16))

        @FUZZ
        @given(st.one_of(st.text(max_size=100).map(signed), blocks.map(lambda plain: envelope(plain, pad=b""))))
        def check(sealed):
            encrypt, signature, timestamp, nonce = sealed
            query = {"timestamp": timestamp, "nonce": nonce, "msg_signature": signature, "encrypt_type": "aes"}
            with patch.object(wechat_xml, "parse", side_effect=[{"Encrypt": encrypt}, wechat_xml.WechatXmlError]):
                opened = self._open(query, b"")
            self.assertIn(opened, ("undecipherable", "malformed", "forbidden", "not_encrypted"))

        check()

    def _spoil(self, chance, body):
        """Return bytes of which some were flipped, cut out, doubled or overwritten."""
        for _time in range(chance.choice((1, 1, 2, 5))):
            start = chance.randrange(len(body) + 1)
            end = min(len(body), start + chance.choice((0, 1, 4, 20, 200)))
            part = body[start:end]
            change = chance.choice((b"", part * 2, bytes(byte ^ 1 for byte in part), chance.randbytes(2), *JUNK))
            body = body[:start] + change + body[end:]
        return body

    def test_mutated_pushes_are_opened_or_refused(self):
        """Half inside of a right envelope, half outside."""
        chance, results = random.Random(SEED), Counter()
        for number in range(MUTATIONS):
            values = {
                "ToUserName": ORIGINAL_ID,
                "FromUserName": f"o{number:027}",
                "CreateTime": number,
                "MsgType": "event",
                "Event": chance.choice(("SCAN", "subscribe", "unsubscribe", "CLICK", "TEMPLATESENDJOBFINISH")),
                "EventKey": f"mb_{chance.randbytes(8).hex()}",
            }
            content = to_xml(values).encode()
            if number % 2:
                results["inside", self.assertInsideHolds(self._spoil(chance, content))] += 1
                continue
            query, body = seal(content)
            asked = dict(query)
            for name in chance.sample(sorted(query), chance.choice((0, 1, 3))):
                asked[name] = self._spoil(chance, query[name].encode()).decode("latin-1")
            sent = self._spoil(chance, body) if chance.random() < 0.5 else body
            results["outside", self.assertOutsideHolds(query, body, asked, sent)] += 1
        for outcome in (("inside", "opened"), ("inside", "malformed"), ("outside", "opened"), ("outside", "forbidden")):
            self.assertGreater(results[outcome], MUTATIONS * 0.02, f"The mutations prove little: {results}")
