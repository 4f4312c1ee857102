import datetime
import ipaddress
import os
import socket
import ssl
import tempfile
import threading
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ...tools import wechat_errors
from ...tools.wechat_api import WechatClient
from .test_common import PATH, TOKEN, ClientCase, answer, hang, hang_up, reset, stop_halfway


class TestTls(ClientCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
        now = datetime.datetime.now(datetime.timezone.utc)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(key, hashes.SHA256())
        )
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.certificate = os.path.join(folder.name, "certificate.pem")
        with open(cls.certificate, "wb") as file:
            file.write(certificate.public_bytes(serialization.Encoding.PEM))
            file.write(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        cls.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        cls.context.load_cert_chain(cls.certificate)

    def trust(self, path):
        environ = patch.dict(os.environ, {"REQUESTS_CA_BUNDLE": path})
        environ.start()
        self.addCleanup(environ.stop)

    def test_https(self):
        self.trust(self.certificate)
        server = self.serve(answer({"errcode": 0}), context=self.context)
        client = WechatClient(server.url)
        self.assertEqual(client.call("POST", PATH, TOKEN, payload={}), {"errcode": 0})
        self.assertEqual(client.call("POST", PATH, TOKEN, payload={}), {"errcode": 0})
        self.assertEqual(server.connections, 1)

    def test_written_and_lost(self):
        self.trust(self.certificate)
        for respond in (hang_up, reset, hang, stop_halfway):
            server, backup = self.serve(respond, context=self.context), self.serve(answer({}))
            client = WechatClient(server.url, backup.url, timeout=(5, 0.5))
            self.assertFails(client, wechat_errors.WechatAmbiguous)
            self.assertEqual((len(server.calls), len(backup.calls)), (1, 0))

    def test_untrusted_certificate(self):
        server, backup = self.serve(answer({}), context=self.context), self.serve(answer({"errcode": 0}))
        error = self.assertFails(WechatClient(server.url), wechat_errors.WechatNotSent)
        self.assertRegex(str(error), "self.signed certificate")
        self.assertEqual(WechatClient(server.url, backup.url).call("GET", PATH), {"errcode": 0})
        self.assertEqual(server.calls, [])

    def test_missing_file_of_certificates(self):
        self.trust("/nonexistent/ca.pem")
        server = self.serve(answer({}), context=self.context)
        self.assertFails(WechatClient(server.url), wechat_errors.WechatNotSent)

    def test_no_tls_spoken(self):
        server = self.serve(answer({}))
        self.assertFails(WechatClient(server.url.replace("http", "https")), wechat_errors.WechatNotSent)

    def test_handshake_that_does_not_end(self):
        for name, treat in (("silence", lambda sock: None), ("hung up", lambda sock: sock.close())):
            with self.subTest(name), socket.create_server(("127.0.0.1", 0)) as listener:
                accepted = []

                def accept(listener=listener, accepted=accepted, treat=treat):
                    accepted.append(listener.accept()[0])
                    accepted[0].recv(10)
                    treat(accepted[0])

                thread = threading.Thread(target=accept, daemon=True)
                thread.start()
                backup = self.serve(answer({"errcode": 0}))
                url = f"https://127.0.0.1:{listener.getsockname()[1]}"
                client = WechatClient(url, backup.url, timeout=(0.5, 0.5))
                self.assertEqual(client.call("GET", PATH), {"errcode": 0})
                thread.join(10)
                accepted[0].close()
