// Package bus is Ringway's one way to NATS: a connection with key/value buckets
// (kv), the logs of shards (logs), the event stream and the leader's request/reply
// service. An embedded server is in server.
//
// A connection outlives its server: it reconnects for ever, publishes nothing
// late, opens every watch again after a reconnect and notices that a bus came
// back with another history. An error that does not wrap
// events.ErrUnknownOutcome means that nothing was stored. It and what
// lies below it alone import nats.go and nats-server; keep it that way.
package bus
