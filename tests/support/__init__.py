"""What the end-to-end tests and the walkthrough share: real processes, a real browser, WeChat's side of the wire."""
