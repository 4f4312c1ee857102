import { registry } from "@web/core/registry";
import { stepUtils } from "@web_tour/tour_utils";

const LINE = ".o_field_widget[name=line_ids] .o_data_row:contains(商家)";

registry.category("web_tour.tours").add("wechat_merchant_bind.template", {
    steps: () => [
        {
            content: "Read the account's templates from WeChat",
            trigger: "button[name=action_sync]:contains(同步)",
            run: "click",
        },
        {
            content: "Open the one that is new here, and has to be filled in",
            trigger: ".o_data_row:contains(新订单通知):contains(待配置) td[name=name]",
            run: "click",
        },
        {
            content: "Say what it is about",
            trigger: ".o_field_widget[name=model_id] input",
            run: "edit 联系人",
        },
        {
            content: "Choose it",
            trigger: ".o_field_widget[name=model_id] .o-autocomplete--dropdown-item:contains(/^联系人$/)",
            run: "click",
        },
        {
            content: "Fill the keyword",
            trigger: `${LINE} [name=value]`,
            run: "click",
        },
        {
            content: "With an expression",
            trigger: `${LINE} [name=value] .o_input`,
            run: "edit {{ object.name }}",
        },
        ...stepUtils.saveForm(),
        {
            content: "Send a test is offered now",
            trigger: "button:contains(发送测试)",
        },
    ],
});
