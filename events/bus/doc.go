// Package bus is Ringway's one way to NATS: an embedded server, and a
// connection with key/value buckets, the event stream and the leader's
// request/reply service.
//
// A connection outlives its server: it reconnects for ever, publishes nothing
// late, opens every watch again after a reconnect and notices that a bus came
// back with another history. An error that does not wrap
// events.ErrUnknownOutcome means that nothing was stored. It is the only
// package that imports nats.go and nats-server; keep it that way.
package bus
