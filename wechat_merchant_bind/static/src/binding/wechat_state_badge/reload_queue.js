import { toRaw } from "@odoo/owl";
import { FetchRecordError } from "@web/model/relational_model/errors";

// Up to this number of changed rows are reloaded one by one, which keeps their places. Beyond it the list is reloaded.
const MAX_SINGLE_ROWS = 5;

/** The records to reload, by model. */
const queues = new WeakMap();

/**
 * Reloads a record, unless it has unsaved edits. Requests of the same tick are collected.
 *
 * @param {import("@web/model/relational_model/record").Record} record
 * @returns {Promise<void>} resolved after the reload
 */
export function reloadRecord(record) {
    const { model } = record;
    const key = toRaw(model);
    if (!queues.has(key)) {
        const records = new Map();
        const done = Promise.resolve().then(() => {
            queues.delete(key);
            return reloadAll(model, [...records.values()]);
        });
        queues.set(key, { records, done });
    }
    const queue = queues.get(key);
    queue.records.set(toRaw(record), record);
    return queue.done;
}

async function reloadAll(model, records) {
    if (records.length > MAX_SINGLE_ROWS && isIdleList(model.root)) {
        return model.root.load();
    }
    for (const record of records) {
        if (!(await hasEdits(record))) {
            await load(record);
        }
    }
}

/** Tells whether a record has unsaved edits, including input that is not yet committed. */
function hasEdits(record) {
    const { editedRecord } = record.model.root;
    // isDirty() would save a row in edition if it is one of several selected ones.
    return editedRecord ? record.isInEdition : record.isDirty();
}

/** Tells whether reloading the whole list loses no selection and no edit. */
function isIdleList(root) {
    return root.selection?.length === 0 && !root.editedRecord;
}

async function load(record) {
    try {
        await record.load();
    } catch (error) {
        // A deleted record disappears when the view is opened again.
        if (!(error instanceof FetchRecordError)) {
            throw error;
        }
    }
}
