package events

// Keys of log records, the same in every role.
const (
	KeyAddress     = "address"
	KeyBus         = "bus"
	KeyCause       = "cause"
	KeyContainer   = "container"
	KeyEpoch       = "epoch"
	KeyError       = "error"
	KeyHost        = "host"
	KeyIncarnation = "incarnation"
	KeyInstance    = "instance"
	KeyPID         = "pid"
	KeyRole        = "role"
	KeyRouter      = "router"
	KeySeq         = "seq"
	KeyService     = "service"
	KeyShard       = "shard"
	KeyTable       = "table"
	KeyToken       = "token"
)
