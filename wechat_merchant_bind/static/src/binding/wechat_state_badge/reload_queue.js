import { toRaw } from "@odoo/owl";
import { FetchRecordError } from "@web/model/relational_model/errors";

// A list reads so many changed rows one by one, which leaves them where they are. For more it is read once as a whole.
const MAX_SINGLE_ROWS = 5;

/** The records that are to be read again, by their model. */
const queues = new WeakMap();

/**
 * Reads a record again as soon as all who have heard of the change have asked for it, unless it has unsaved edits.
 *
 * @param {import("@web/model/relational_model/record").Record} record
 * @returns {Promise<void>} when it was read
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

/** Tells whether a record has edits that are not saved, also those that are only typed so far. */
function hasEdits(record) {
    const { editedRecord } = record.model.root;
    // To ask while a row is edited would save it, if it is one of several selected ones.
    return editedRecord ? record.isInEdition : record.isDirty();
}

/** Tells whether reading all of a view again takes nothing from the user. */
function isIdleList(root) {
    return root.selection?.length === 0 && !root.editedRecord;
}

async function load(record) {
    try {
        await record.load();
    } catch (error) {
        // It was deleted: the view shows that when it is opened again.
        if (!(error instanceof FetchRecordError)) {
            throw error;
        }
    }
}
