"""Helpers of the end-to-end tests and the walkthrough: processes, a browser, and WeChat's side of the protocol."""
