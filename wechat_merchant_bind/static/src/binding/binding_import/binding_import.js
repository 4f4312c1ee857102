import { ImportAction } from "@base_import/import_action/import_action";
import { BaseImportModel } from "@base_import/import_model";
import { patch } from "@web/core/utils/patch";

// The import of bindings also returns notices, such as OpenIDs that do not follow, and its report.
patch(BaseImportModel.prototype, {
    async _callImport(dryrun, args) {
        const result = await super._callImport(...arguments);
        for (const notice of result.wechat_notices || []) {
            this._addMessage("warning", [notice]);
        }
        this.wechatReport = dryrun ? undefined : result.wechat_report;
        return result;
    },
});

patch(ImportAction.prototype, {
    openRecords() {
        if (this.model.wechatReport) {
            return this.actionService.doAction(this.model.wechatReport);
        }
        return super.openRecords(...arguments);
    },
});
