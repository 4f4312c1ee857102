from . import wechat_bench_run
