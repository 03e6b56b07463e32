// What imapflow sees and does on one server; the test that starts this looks at the spool.
// Words: where imapflow is installed, port, user, file with the certificate.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { buffer } from "node:stream/consumers";

const [, , where, port, user, ca] = process.argv;
const { ImapFlow } = createRequire(where + "/node_modules/")("imapflow");

// Every command that was sent, so that a path of imapflow's that silently falls back is seen.
const sent = [];
const keep = (entry) => entry.src === "c" && sent.push(entry.msg);
const logger = { trace: keep, debug: keep, info() {}, warn: keep, error() {} };

async function connect(options = {}) {
    const client = new ImapFlow({
        host: "localhost",
        port: Number(port),
        secure: true,
        tls: { ca: readFileSync(ca) },
        auth: { user, pass: "secret" },
        qresync: true,
        logger,
        ...options,
    });
    await client.connect();
    return client;
}

function used(pattern) {
    assert.ok(sent.some((line) => pattern.test(line)), `${pattern} not in\n${sent.join("\n")}`);
}

const message = (subject, body) =>
    Buffer.from(`From: Ann <ann@example.org>\r\nSubject: ${subject}\r\nMessage-ID: <${subject}@x>\r\n\r\n${body}\r\n`);

// --- log in, in each way
for (const loginMethod of ["AUTH=PLAIN", "AUTH=LOGIN", "LOGIN"]) {
    const client = await connect({ auth: { user, pass: "secret", loginMethod } });
    assert.ok(client.authenticated);
    await client.logout();
}
used(/ AUTHENTICATE PLAIN$/);
used(/ AUTHENTICATE LOGIN$/);
used(/ LOGIN /);
await assert.rejects(connect({ auth: { user, pass: "wrong" } }), (error) => {
    assert.equal(error.authenticationFailed, true);
    assert.equal(error.serverResponseCode, "AUTHENTICATIONFAILED");
    return true;
});
const bare = await connect({ disableCompression: true, disableIMAP4rev2: true });
assert.ok(!bare.enabled.has("IMAP4REV2"));
await bare.mailboxOpen("INBOX");
assert.equal(bare.mailbox.exists, 5);
await bare.logout();

// --- capabilities
const client = await connect();
for (const word of ["CONDSTORE", "QRESYNC", "UTF8=ACCEPT", "IMAP4REV2"]) {
    assert.ok(client.enabled.has(word), [...client.enabled].join());
}
used(/ COMPRESS DEFLATE/);
assert.ok(client._inflate, "not compressed");
used(/ ENABLE .*QRESYNC/);

// --- mailboxes
const made = await client.mailboxCreate("Entwürfe & mehr");
assert.deepEqual([made.path, made.created], ["Entwürfe & mehr", true]);
assert.equal((await client.mailboxCreate("Entwürfe & mehr")).created, false);
await client.mailboxCreate(["Work", "Deep"]);
const boxes = await client.list({ statusQuery: { messages: true, unseen: true, uidNext: true, highestModseq: true } });
const box = Object.fromEntries(boxes.map((entry) => [entry.path, entry]));
assert.deepEqual(
    Object.keys(box).sort(),
    ["Entwürfe & mehr", "INBOX", "Sent", "Trash", "Work", "Work.Deep"].sort(),
);
used(/ LIST .*RETURN \(.*STATUS/);
assert.deepEqual([box.Sent.specialUse, box.Sent.specialUseSource], ["\\Sent", "extension"]);
assert.deepEqual([box.Trash.specialUse, box.Trash.specialUseSource], ["\\Trash", "extension"]);
assert.deepEqual([box.INBOX.status.messages, box.INBOX.status.unseen, box.INBOX.status.uidNext], [5, 5, 6]);
assert.equal(typeof box.INBOX.status.highestModseq, "bigint");
assert.equal(box["Work.Deep"].parentPath, "Work");
assert.ok(await client.mailboxSubscribe("Work.Deep"));
assert.deepEqual((await client.list()).find((entry) => entry.path === "Work.Deep").subscribed, true);
assert.equal((await client.mailboxRename("Work.Deep", "Work.Deeper")).newPath, "Work.Deeper");
await client.mailboxDelete("Work.Deeper");
await assert.rejects(client.mailboxOpen("Nowhere"), { serverResponseCode: "NONEXISTENT" });
const status = await client.status("Sent", { messages: true, uidValidity: true, recent: true });
assert.equal(status.messages, 0);

// --- messages
// A copy: imapflow keeps its own up to date.
const inbox = { ...(await client.mailboxOpen("INBOX")) };
assert.equal(inbox.exists, 5);
assert.equal(inbox.readOnly, false);
assert.ok(inbox.highestModseq > 0n);
assert.ok(inbox.mailboxId);
assert.ok(inbox.permanentFlags.has("\\*"));
const added = await client.append("INBOX", message("added", "x".repeat(100000)), ["\\Seen", "$Label1"], new Date(1.7e12));
assert.deepEqual([added.uid, added.uidValidity, added.path], [6, inbox.uidValidity, "INBOX"]);
const one = await client.fetchOne(
    "6",
    { uid: true, flags: true, envelope: true, internalDate: true, size: true, bodyStructure: true, source: true,
      headers: ["subject"], bodyParts: ["1"] },
    { uid: true },
);
assert.equal(one.envelope.subject, "added");
assert.equal(one.internalDate.getTime(), 1.7e12);
assert.equal(one.size, one.source.length);
assert.deepEqual(one.source, message("added", "x".repeat(100000)));
assert.equal(one.headers.toString(), "Subject: added\r\n\r\n");
assert.equal(one.bodyParts.get("1").length, 100002);
assert.deepEqual([...one.flags].sort(), ["$Label1", "\\Seen"]);
assert.equal(one.bodyStructure.type, "text/plain");
assert.ok(one.modseq > inbox.highestModseq);
assert.ok(one.emailId);
const loaded = await client.download("6", undefined, { uid: true, chunkSize: 10000 });
assert.deepEqual(await buffer(loaded.content), message("added", "x".repeat(100000)));
used(/BODY\.PEEK\[[^\]]*\]<10000\.10000>/);

assert.deepEqual(await client.search({ seen: false }), [1, 2, 3, 4, 5]);
assert.deepEqual(await client.search({ keyword: "$Label1", larger: 100000 }, { uid: true }), [6]);
assert.deepEqual(await client.search({ or: [{ subject: "message 2" }, { header: { subject: "added" } }] }), [2, 6]);
assert.deepEqual(await client.search({ emailId: one.emailId }), [6]);
assert.deepEqual(await client.search({ body: "body of Ü" }), []);

assert.ok(await client.messageFlagsAdd("1:2", ["\\Flagged", "$Work"]));
assert.ok(await client.messageFlagsRemove("2", ["\\Flagged"]));
assert.ok(await client.messageFlagsSet("3", ["\\Answered"]));
const flags = Object.fromEntries(
    (await client.fetchAll("1:3", { flags: true })).map((row) => [row.seq, [...row.flags].sort().join(" ")]),
);
assert.deepEqual(flags, { 1: "$Work \\Flagged", 2: "$Work", 3: "\\Answered" });

const copied = await client.messageCopy("1:2", "Work");
assert.deepEqual([...copied.uidMap], [[1, 1], [2, 2]]);
const moved = await client.messageMove("4", "Trash", { uid: true });
assert.deepEqual([...moved.uidMap], [[4, 1]]);
used(/ UID MOVE 4 /);

// --- a change by another session while idle, told as VANISHED and EXISTS
const other = await connect();
await other.mailboxOpen("INBOX");
const told = { vanished: [], exists: [], flags: [] };
const enough = new Promise((resolve) => {
    const look = () => told.vanished.length && told.exists.length && told.flags.length && resolve();
    client.on("expunge", (event) => { told.vanished.push(event.uid); look(); });
    client.on("exists", (event) => { told.exists.push(event.count); look(); });
    client.on("flags", (event) => { told.flags.push(event.uid); look(); });
});
const idle = client.idle();
await other.messageFlagsAdd("1", ["\\Seen"], { uid: true });
await other.messageDelete("5", { uid: true });
await other.append("INBOX", message("later", "y"));
await enough;
assert.deepEqual(told.vanished, [5]);
assert.ok(told.flags.includes(1));
used(/ IDLE$/);
const before = { uidValidity: client.mailbox.uidValidity, modseq: (await client.status("INBOX", { highestModseq: true })).highestModseq };
await client.logout();
await idle.catch(() => {});

// --- away for a while, and back with QRESYNC
await other.messageDelete("2", { uid: true });
await other.messageFlagsAdd("3", ["\\Flagged"], { uid: true });
await other.logout();
const back = await connect();
const resync = { vanished: [] };
back.on("expunge", (event) => resync.vanished.push([event.uid, event.vanished, event.earlier]));
await back.mailboxOpen("INBOX");
const changed = [];
for await (const row of back.fetch("1:*", { uid: true, flags: true }, { uid: true, changedSince: before.modseq })) {
    changed.push([row.uid, [...row.flags].sort().join(" ")]);
}
assert.deepEqual(changed, [[3, "\\Answered \\Flagged"]]);
used(/ UID FETCH 1:\* .*CHANGEDSINCE \d+ VANISHED\)/);
assert.deepEqual(resync.vanished, [[2, true, true]]);
// The same by SELECT with QRESYNC: the library sends it for two options that its documentation does not name.
await back.mailboxClose();
resync.vanished.length = 0;
const flagged = [];
back.on("flags", (event) => flagged.push([event.uid, [...event.flags].sort().join(" ")]));
const opened = await back.mailboxOpen("INBOX", { uidValidity: before.uidValidity, changedSince: before.modseq });
used(/ SELECT INBOX \(QRESYNC \(\d+ \d+\)\)/);
assert.equal(opened.qresync, true);
assert.deepEqual(resync.vanished, [[2, true, true]]);
assert.deepEqual(flagged, [[3, "\\Answered \\Flagged"]]);
// A UIDVALIDITY that is no longer so: nothing is said of what has gone or changed.
await back.mailboxClose();
resync.vanished.length = flagged.length = 0;
const anew = await back.mailboxOpen("INBOX", { uidValidity: before.uidValidity + 1n, changedSince: before.modseq });
assert.equal(anew.qresync, false);
assert.deepEqual([resync.vanished, flagged], [[], []]);
await back.logout();
console.log("done");
// The connection whose login was refused stays open: imapflow leaves it, and so it is not waited for.
process.exit(0);
