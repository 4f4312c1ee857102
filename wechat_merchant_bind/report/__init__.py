from . import wechat_bind_batch_sheet
