package main

import (
	"fmt"
	"strings"
)

// choice is what `up` uses, and why, for people.
type choice struct {
	docker bool
	why    string
}

// choose takes Docker if it can be used and nothing speaks against it. wanted
// is a person's word; flags are those of `ringway up`, which has child
// processes only.
func choose(wanted string, flags []string, t tools) (choice, error) {
	processes := func(why string) (choice, error) {
		return choice{false, "using child processes: " + why}, nil
	}
	switch {
	case wanted != "" && wanted != "docker" && wanted != "process":
		return choice{}, fmt.Errorf("RINGWAY_RUNTIME=%s: use docker or process", wanted)
	case wanted == "docker" && len(flags) > 0:
		return choice{}, fmt.Errorf("%s is a flag of `ringway up`, which runs child processes; on Docker, say it in compose/ringway.yaml or the variables of compose/compose.yaml", flags[0])
	case wanted == "docker" && t.missing != "":
		return choice{}, fmt.Errorf("RINGWAY_RUNTIME=docker: %s", t.missing)
	case wanted == "process":
		return processes("RINGWAY_RUNTIME says so")
	case len(flags) > 0:
		return processes(strings.Join(flags, " ") + " is of `ringway up`")
	case t.missing != "":
		return processes(t.missing)
	}
	return choice{true, "using containers: Docker " + t.engine + " answers (RINGWAY_RUNTIME=process is for child processes)"}, nil
}
