def migrate(cr, version):
    """Keep one scheduled action that sends: the others, whether delivered or copied, are archived.

    Their names counted lanes. Messages that were "probably not sent" have an unknown result, which is still known.
    """
    cr.execute("""
        UPDATE ir_cron AS cron
           SET active = FALSE
          FROM ir_act_server AS action
         WHERE action.id = cron.ir_actions_server_id
           AND action.code = 'model._cron_send()'
           AND cron.id != (SELECT res_id
                             FROM ir_model_data
                            WHERE module = 'wechat_merchant_bind' AND name = 'ir_cron_send_1')
    """)
    cr.execute("""
        UPDATE ir_act_server AS action
           SET name = '{"en_US": "WeChat: send messages", "zh_CN": "微信：发送消息"}'
          FROM ir_cron AS cron, ir_model_data AS data
         WHERE data.module = 'wechat_merchant_bind'
           AND data.name = 'ir_cron_send_1'
           AND cron.id = data.res_id
           AND action.id = cron.ir_actions_server_id
    """)
    cr.execute("UPDATE wechat_message SET failure_type = 'wechat_unknown' WHERE failure_type = 'wechat_unsent'")
    cr.execute("UPDATE mail_notification SET failure_type = 'wechat_unknown' WHERE failure_type = 'wechat_unsent'")
    cr.execute("""
        DELETE FROM ir_config_parameter
         WHERE key IN ('wechat_merchant_bind.threads_per_lane', 'wechat_merchant_bind.linger_seconds')
    """)
