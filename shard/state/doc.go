// Package state is what a replica's state is, whatever engine keeps it: how
// batches change it, how its values lie in SQL columns, and the digest that
// stands for it.
//
// Everything here is pure: the same log gives the same state and the same
// results on every replica, however its entries are gathered into
// transactions. It imports only the standard library and the contract; keep
// it that way.
package state
