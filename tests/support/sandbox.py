"""A client for the sandbox and its phones."""

import requests

TOKEN_PATH = "/cgi-bin/stable_token"


class Sandbox:
    """The sandbox's own paths. Every method raises requests.HTTPError if the sandbox refuses."""

    def __init__(self, url: str):
        self.url = url

    def get(self, path: str, /, **query) -> dict:
        """GET one of the sandbox's own paths."""
        return self._read(requests.get(f"{self.url}/sandbox/{path}", params=query, timeout=120))

    def post(self, path: str, /, **data) -> dict:
        """POST to one of the sandbox's own paths."""
        return self._read(requests.post(f"{self.url}/sandbox/{path}", json=data, timeout=120))

    def _read(self, response: requests.Response) -> dict:
        if not response.ok:
            raise requests.HTTPError(f"{response.status_code} {response.text}", response=response)
        return response.json()

    def account(self) -> dict:
        """Return the settings of the first account."""
        return self.get("state")["accounts"][0]

    def fetch_token(self) -> str:
        """Return the first account's access token."""
        account = self.account()
        payload = {"grant_type": "client_credential", "appid": account["app_id"], "secret": account["secret"]}
        return self._read(requests.post(f"{self.url}{TOKEN_PATH}", json=payload, timeout=60))["access_token"]

    def calls(self, path: str) -> int:
        """Return how often an API path was called since the last reset."""
        return self.get("calls", path=path)["total"]

    def scan(self, user: str, content: str) -> dict:
        """Let a user's phone scan a code; return the push and its outcome."""
        return self.post("scan", user=user, content=content)
