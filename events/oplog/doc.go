// Package oplog writes ops to the logs of shards and waits for what became of
// them. Routers and shard servers use the same writer.
//
// Ops on one shard that come at the same time share a batch: while one batch is
// unanswered the ops of the next one queue, and after the answer it waits a moment for
// those who are likely to write again (logQueue.delay). Who writes alone never
// waits. A batch whose acknowledgement is lost is sent again, identically and
// under the same id, until the log acknowledges it. Do is never wrong about an op:
// it returns what became of it, events.ErrUnknownOutcome, or an error that
// means that the op is in no log and never will be. It imports only events;
// keep it that way.
package oplog
