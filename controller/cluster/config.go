package cluster

import (
	"fmt"
	"time"

	"ringway/events"
)

// Config of a controller.
type Config struct {
	ID          string          // unique among controllers
	Version     string          // of this program, shown by the micro service
	Services    []ServiceConfig // what the configuration declares
	Tables      []TableConfig
	Servers     []ServersConfig
	ExpectHosts int // hosts to wait for before the first placement; 0: SuspectAfter decides

	SuspectAfter        time.Duration // silence until a host is out of rotation
	LostAfter           time.Duration // silence until a host's instances are replaced elsewhere
	ForgetAfter         time.Duration // silence until a host with nothing assigned is not listed any more
	IsolatedAfter       time.Duration // without its own heartbeat a leader does not judge others' silence
	ReplaceUnreadyAfter time.Duration // failing probes until an instance is replaced
	YoungAge            time.Duration // an instance that dies younger makes its replacement wait
	RetryMin, RetryMax  time.Duration // bounds of that wait, doubling
	RequestTimeout      time.Duration // longest wait of a request for its effect
	RememberedRequests  int           // requests that are known again when repeated

	TableTimeout   time.Duration // longest wait of a request about a table: database servers take long to begin
	MoveAfter      time.Duration // silence until what a host keeps of a shard is filled elsewhere
	RestartTimeout time.Duration // for a renewed shard server to be ready, unless it is still being filled
	CreateLogEvery time.Duration // between attempts to create a log
	PurgeEvery     time.Duration // at least, between purges of a log
	MinPurge       uint64        // entries that a purge must free
	KeepTail       uint64        // newest entries that all have and that stay, for those who reconnect or look

	CopiesEvery time.Duration // between looks whether the bus has servers for more copies of a stream

	LeaseValid  time.Duration // after sending a renewal a leader may decide for so long
	LeaseTTL    time.Duration // without a renewal until a standby takes the lease over, by the standby's own clock; above LeaseValid
	RenewEvery  time.Duration // between renewals, and between a standby's attempts
	CallTimeout time.Duration // of one call to the bus
}

// DefaultConfig has the times that docs/ARCHITECTURE.md promises.
func DefaultConfig() Config {
	return Config{
		SuspectAfter: 1500 * time.Millisecond, LostAfter: 8 * time.Second, ForgetAfter: 10 * time.Minute, IsolatedAfter: 1200 * time.Millisecond,
		ReplaceUnreadyAfter: 30 * time.Second, YoungAge: 10 * time.Second, RetryMin: 500 * time.Millisecond, RetryMax: 30 * time.Second,
		RequestTimeout: 60 * time.Second, RememberedRequests: 64,
		TableTimeout: 120 * time.Second, MoveAfter: 60 * time.Second, RestartTimeout: 3 * time.Minute, CreateLogEvery: time.Second,
		PurgeEvery: 10 * time.Second, MinPurge: 1000, KeepTail: 1000,
		CopiesEvery: 10 * time.Second,
		LeaseValid:  3 * time.Second, LeaseTTL: 4 * time.Second, RenewEvery: time.Second, CallTimeout: 2 * time.Second,
	}
}

// ServiceConfig is what the configuration declares of one service. Overlay puts it
// onto the service's stored or default settings. It is applied when ConfigHash
// changes, unless it was given before the one that was applied last. How many
// replicas people request stands until Replicas changes. An empty ConfigHash only
// makes sure that there is a service.
type ServiceConfig struct {
	Name       string
	ConfigHash string
	Given      time.Time // zero: nobody knows
	Replicas   *int      // the file's number; nil: Overlay decides
	Overlay    func(base events.ServiceSpec) (events.ServiceSpec, error)
}

// TableConfig is a table that the configuration declares. It is created when it
// does not exist; a file that declares something else later does not change it.
type TableConfig struct {
	ConfigHash string
	Request    events.InitRequest
}

// ServersConfig is what the configuration declares of a table's shard servers. It
// follows the rules of a ServiceConfig, for a table that exists, however it came.
type ServersConfig struct {
	Table      string
	ConfigHash string
	Given      time.Time
	Overlay    func(base events.ServerSpec) (events.ServerSpec, error)
}

// IsNew reports whether a configuration is to be applied after another one. Only one
// that was given later is: a standby with an older file does not take back what
// is there. why says so then.
func IsNew(hash string, given time.Time, lastHash string, last time.Time) (isNew bool, why string) {
	if hash == "" || hash == lastHash {
		return false, ""
	}
	if !given.IsZero() && given.Before(last) {
		return false, fmt.Sprintf("this controller has another configuration, of %s, than the one of %s that is followed; to have it followed, give it again: change its file, and start the controller anew",
			given.UTC().Format(time.DateTime), last.UTC().Format(time.DateTime))
	}
	return true, ""
}
