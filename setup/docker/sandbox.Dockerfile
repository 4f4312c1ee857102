# The stand-in for WeChat, to try the addon without an Official Account. Built from the repository's folder.
FROM python:3.13-slim

COPY setup/docker/sandbox-requirements.txt /tmp/sandbox-requirements.txt
RUN pip install --no-cache-dir --requirement /tmp/sandbox-requirements.txt \
    && rm /tmp/sandbox-requirements.txt \
    && install --directory --owner nobody /var/lib/sandbox
COPY setup/sandbox /opt/sandbox
# The files have the modes of the clone, which the builder's umask decided.
RUN chmod -R u=rwX,go=rX /opt/sandbox
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER nobody
CMD ["python", "/opt/sandbox", "--host", "0.0.0.0", "--port", "8070", "--state", "/var/lib/sandbox/state"]
