# Odoo with the addon. Built from the repository's folder, see docker-compose.yml.
FROM odoo:19.0

USER root
COPY setup/docker/odoo-requirements.txt /tmp/odoo-requirements.txt
RUN pip3 install --no-cache-dir --break-system-packages --requirement /tmp/odoo-requirements.txt \
    && rm /tmp/odoo-requirements.txt
COPY wechat_merchant_bind /opt/odoo/addons/wechat_merchant_bind
USER odoo
