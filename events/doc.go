// Package events is the contract between Ringway's roles: the subjects and
// messages that they exchange, the keys they log and the errors they share.
//
// Everything on the bus is JSON that a person can read. Decoders are strict
// about what the receiver depends on and lenient about unknown fields, so that
// roles of neighbouring releases understand each other. The package imports
// only the standard library; keep it that way.
package events
