# Odoo with the addon. Built from the repository's folder, see docker-compose.yml.
FROM odoo:19.0

USER root
COPY setup/docker/odoo-requirements.txt /tmp/odoo-requirements.txt
RUN pip3 install --no-cache-dir --break-system-packages --requirement /tmp/odoo-requirements.txt \
    && rm /tmp/odoo-requirements.txt
COPY setup/docker/odoo-entrypoint /usr/local/bin/odoo-entrypoint
COPY wechat_merchant_bind /opt/odoo/addons/wechat_merchant_bind
# The files have the modes of the clone, which the builder's umask decided.
RUN chmod 755 /usr/local/bin/odoo-entrypoint /opt/odoo /opt/odoo/addons \
    && chmod -R u=rwX,go=rX /opt/odoo/addons/wechat_merchant_bind
USER odoo
ENTRYPOINT ["/usr/local/bin/odoo-entrypoint"]
CMD ["odoo"]
