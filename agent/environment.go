package agent

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"ringway/events"
)

// Variables in the environment of an instance, whatever runs it. PORT is there
// as well, and SERVER_ID, which the course's clients know.
const (
	EnvInstance = "RINGWAY_INSTANCE" // name
	EnvID       = "RINGWAY_ID"       // name, as ringway server understands it
	EnvNumber   = "RINGWAY_NUMBER"   // id in its service, a small integer
	EnvService  = "RINGWAY_SERVICE"
	EnvHost     = "RINGWAY_HOST"
	EnvGrace    = "RINGWAY_GRACE" // between SIGTERM and SIGKILL

	// Of instances that have them.
	EnvKind   = "RINGWAY_KIND"
	EnvVolume = "RINGWAY_VOLUME" // id
	EnvData   = "RINGWAY_DATA"   // where the volume is, for the instance
)

// Environment is the service's, then what the instance must be able to rely
// on. The last of a name counts. data is where it finds its volume, if it has
// one.
func Environment(spec events.InstanceSpec, host string, port int, data string) []string {
	var env []string
	for _, k := range slices.Sorted(maps.Keys(spec.Env)) {
		env = append(env, k+"="+spec.Env[k])
	}
	env = append(env,
		"PORT="+strconv.Itoa(port),
		"SERVER_ID="+spec.Name,
		EnvInstance+"="+spec.Name,
		EnvID+"="+spec.Name,
		EnvNumber+"="+strconv.Itoa(spec.ID),
		EnvService+"="+spec.Service,
		EnvHost+"="+host,
		EnvGrace+"="+spec.Grace.String(),
	)
	if spec.Kind != "" {
		env = append(env, EnvKind+"="+spec.Kind)
	}
	if spec.Volume != "" {
		env = append(env, EnvVolume+"="+spec.Volume, EnvData+"="+data)
	}
	return env
}

// Argv is the command of spec, with its port in place of {port}.
func Argv(spec events.InstanceSpec, port int) []string {
	var argv []string
	for _, a := range spec.Command {
		argv = append(argv, strings.ReplaceAll(a, "{port}", strconv.Itoa(port)))
	}
	return argv
}
