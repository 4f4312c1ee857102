from . import wechat_bind_batch_sheet
from . import wechat_bind_funnel
from . import wechat_bind_report
from . import wechat_bound_rate
from . import wechat_message_report
