{
    "name": "WeChat Merchant Binding: Benchmark",
    "summary": "The cheapest request that Odoo can answer, for ./setup/bench",
    "version": "19.0.1.0.0",
    "category": "Hidden",
    "license": "LGPL-3",
    "author": "wechat_merchant_bind contributors",
    "depends": ["wechat_merchant_bind"],
    "data": ["security/ir.model.access.csv"],
}
