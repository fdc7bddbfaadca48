package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"ringway/cli/console"
	"ringway/events"
)

func overlay(t *testing.T, text string, base events.ServiceSpec) (events.ServiceSpec, error) {
	t.Helper()
	c, err := ParseConfig("f.yaml", []byte(text))
	if err != nil {
		return base, err
	}
	return c.Overlay(base)
}

func TestConfig_FaultsHaveTheirPlace(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := overlay(t, text, events.DefaultServiceSpec())
		if err == nil {
			t.Errorf("%q was accepted, want %q", text, want)
			return
		}
		if err.Error() != want {
			t.Errorf("%q:\n got %s\nwant %s", text, err, want)
		}
		if console.ExitCode(err) != console.ExitUsage {
			t.Errorf("%q: exit code %d", text, console.ExitCode(err))
		}
	}
	web := func(s string) string { return "services:\n  web:\n    " + s + "\n" }

	f("service: {}", `f.yaml:1:1: unknown key "service"; did you mean "services"?`)
	f(web("replicsa: 3"), `f.yaml:3:5: unknown key "replicsa"; did you mean "replicas"?`)
	f(web("colour: red"), `f.yaml:3:5: unknown key "colour"; use algorithm, command, drain, env, functions, grace, health, image, key, limits, load_factor, min_ready, paths, port, replicas, slots, timeout`)
	f(web("key: {form: header}"), `f.yaml:3:11: unknown key "form"; did you mean "from"?`)
	f(web("functions: {g: i}"), `f.yaml:3:17: unknown key "g"; did you mean "h"?`)

	f(web("replicas: many"), `f.yaml:3:15: replicas: want a whole number, got the text "many"`)
	f(web("replicas: 3.5"), `f.yaml:3:15: replicas: want a whole number, got the number 3.5`)
	f(web(`replicas: "3"`), `f.yaml:3:15: replicas: want a whole number, got the text "3"`)
	f(web("replicas:"), `f.yaml:3:15: replicas: want a whole number, got nothing`)
	f(web("replicas: [3]"), `f.yaml:3:15: replicas: want a whole number, got a list`)
	f(web("replicas: 99999999999"), `f.yaml:3:15: replicas: 99999999999 is out of range`)
	f(web("algorithm: yes"), `f.yaml:3:16: algorithm: "yes" is unknown; use balanced or course`)
	f(web("algorithm: true"), `f.yaml:3:16: algorithm: want text, got true (write it in quotes if it is meant as text)`)
	f(web("load_factor: off"), `f.yaml:3:18: load_factor: want a number, got the text "off"`)
	f(web("timeout: 30"), `f.yaml:3:14: timeout: want a duration with a unit, like 30s or 500ms, got the number 30`)
	f(web("timeout: soon"), `f.yaml:3:14: timeout: "soon" is no duration; write a number with a unit, like 30s or 500ms`)
	f(web("paths: /home"), `f.yaml:3:12: paths: want a list of texts, like ["a", "b"], got the text "/home"`)
	f(web("command: [sleep, 10]"), `f.yaml:3:22: command[1]: want text; put it in quotes, got the number 10`)
	f(web("env: {PORT: 80}"), `f.yaml:3:17: env.PORT: want text; put it in quotes, got the number 80`)
	f(web(`env: {"A=B": "x"}`), `f.yaml:3:11: env: "A=B" can be no variable; leave out '=' and zero bytes`)
	f(web("key: header"), `f.yaml:3:10: key: want a mapping, like {key: value}, got the text "header"`)

	f("services:\n\tweb:\n", `f.yaml:2:1: this is no YAML: a tab; indent with spaces`)
	f(web(`command: ["", x]`), `f.yaml:3:14: command: the program has no name; give a program and its arguments, or [] for the sample replica`)
	f(web("replicas: -1"), `f.yaml:3:15: replicas: -1 is too few; use 0 (none for now) or more`)
	f(web("algorithm: course\n    replicas: 57"), `f.yaml:4:15: replicas: 57 is too many; 512 slots of algorithm course hold at most 56`)
	f(web("slots: 65537"), `f.yaml:3:12: slots: 65537 is out of range; use 1 to 65536`)
	f(web("load_factor: 0.5"), `f.yaml:3:18: load_factor: 0.5 is out of range; use 0 (off) or 1 to 100`)
	f(web("load_factor: .nan"), `f.yaml:3:18: load_factor: want a number, got the number .nan`)
	f(web("key: {from: moon}"), `f.yaml:3:17: key.from: "moon" is unknown; use header, cookie, query, path or address`)
	f(web("key: {from: cookie, name: ''}"), `f.yaml:3:31: key.name: missing; name the cookie`)
	f(web("health: up"), `f.yaml:3:13: health: "up" is no path; begin it with /`)
	f(web("timeout: -1s"), `f.yaml:3:14: timeout: -1s is too short; use a positive duration like 30s`)
	f(web("paths: [home]"), `f.yaml:3:12: paths: "home" is no path; begin it with /`)

	f(web("image: 'two words'"), `f.yaml:3:12: image: "two words" is no reference; write it like nginx:1.27 or registry.example/team/app@sha256:…`)
	f(web("image: --privileged"), `f.yaml:3:12: image: "--privileged" is no reference; write it like nginx:1.27 or registry.example/team/app@sha256:…`)
	f(web("port: 70000"), `f.yaml:3:11: port: 70000 is out of range; use 1 to 65535, or leave it out if the program obeys PORT`)
	f(web("limits: 512MiB"), `f.yaml:3:13: limits: want a mapping, like {key: value}, got the text "512MiB"`)
	f(web("limits: {ram: 1}"), `f.yaml:3:14: unknown key "ram"; use cpus, memory, pids`)
	f(web("limits: {memory: 512m}"), `f.yaml:3:22: limits.memory: "512m" is no size; write bytes, or a number with KiB, MiB or GiB`)
	f(web("limits: {memory: 9999999999GiB}"), `f.yaml:3:22: limits.memory: "9999999999GiB" is no size; write bytes, or a number with KiB, MiB or GiB`)
	f(web("limits: {memory: 1.5}"), `f.yaml:3:22: limits.memory: want a size, like 256MiB, got the number 1.5`)
	f(web("limits: {memory: 512}"), `f.yaml:3:22: limits.memory: 512 bytes are too few; use at least 6291456 (6MiB)`)
	f(web("limits: {cpus: -1}"), `f.yaml:3:20: limits.cpus: -1 is out of range; use 0.01 to 4096`)
	f(web("limits: {pids: -1}"), `f.yaml:3:20: limits.pids: -1 is negative; use at least 1`)

	large := func(n int) string { return strings.Repeat("x", n) }
	f(web("env: {A: "+large(70_000)+"}"), `f.yaml:3:10: env: it takes 70008 bytes, and the specification 70259 as JSON; at most 65536 can be stored: put what is large into the image, or a file that the program reads`)
	f("tables:\n  StudT:\n    env: {A: "+large(70_000)+"}\n", `f.yaml:3:10: env: it takes 70008 bytes, and the specification 70016 as JSON; at most 65536 can be stored: put what is large into the image, or a file that the program reads`)
	tables := "tables:\n"
	for _, t := range "ABCDE" {
		tables += "  " + string(t) + "T:\n    env: {A: " + large(60_000) + "}\n"
	}
	f(tables, `the specifications of all services and tables take 300324 bytes as JSON; at most 262144 fit what one host can be assigned`)

	f("services:\n  web: {}\n  api: {}\n", `f.yaml:3:3: service "api" is the second; this release runs one service, take one of them out`)
	f("services:\n  w: {}\n", `f.yaml:2:3: service name "w": use 2 to 63 letters, digits, '_', '.' or '-', beginning with a letter or digit, without '..' or a '.' at the end`)
	f("services: 3", `f.yaml:1:11: services: want a mapping, like {key: value}, got the number 3`)
	f("- services", `f.yaml:1:1: the file: want a mapping, like {key: value}, got a list`)
	f("services: {}\n---\nservices: {}\n", `f.yaml:3:1: a second document begins here; keep to one`)
	f(web("env: &x {A: a}"), `f.yaml:3:10: env: want a mapping, like {key: value}, got an anchor or alias, which this file does not allow`)
	f(web("health: !!str /x"), `f.yaml:3:13: health: want text, got a tag, which this file does not allow`)

	// What YAML reads otherwise than people do, and what would be used as it stands.
	f("\ufeff"+web("replicas: 3"), `f.yaml:1:1: a byte order mark stands before the text; save the file as UTF-8 without one (BOM)`)
	f("%YAML 1.2\n---\n"+web("replicas: 3"), `f.yaml:1:1: "%YAML 1.2" is a directive, which this file does not allow; leave the line out`)
	f("# x\n%TAG ! y\n---\n", `f.yaml:2:1: "%TAG ! y" is a directive, which this file does not allow; leave the line out`)
	f("services: {}\n# é \xff", `f.yaml:2:5: the byte 0xff is not UTF-8; save the file as UTF-8`)
	f("\xff\xfes\x00", `f.yaml:1:1: the byte 0xff is not UTF-8; save the file as UTF-8`)
	decimal := " is not a plain decimal number; write it without leading zeros, prefixes and underscores"
	f(web("replicas: 010"), `f.yaml:3:15: replicas: 010`+decimal)
	f(web("replicas: 0x10"), `f.yaml:3:15: replicas: 0x10`+decimal)
	f(web("replicas: 0o10"), `f.yaml:3:15: replicas: 0o10`+decimal)
	f(web("replicas: 0b11"), `f.yaml:3:15: replicas: 0b11`+decimal)
	f(web("replicas: 1_0"), `f.yaml:3:15: replicas: 1_0`+decimal)
	f(web("load_factor: 010"), `f.yaml:3:18: load_factor: 010`+decimal)
	f(web("load_factor: 1_0.5"), `f.yaml:3:18: load_factor: 1_0.5`+decimal)
	f(web("limits: {memory: 010000000}"), `f.yaml:3:22: limits.memory: 010000000`+decimal)
	f(web("limits: {memory: 0x1000000}"), `f.yaml:3:22: limits.memory: 0x1000000`+decimal)
	f(web("health: '/a b'"), `f.yaml:3:13: health: "/a b": ' ' cannot be in a path; write it percent-encoded, like %20`)
	f(web(`health: "/a\nb"`), `f.yaml:3:13: health: "/a\nb": '\n' cannot be in a path; write it percent-encoded, like %0A`)
	f(web("health: /é"), `f.yaml:3:13: health: "/é": 'é' cannot be in a path; write it percent-encoded, like %C3%A9`)
	noPath := " is no path; write it like /status, without host and fragment, and letters after % as two hexadecimal digits"
	f(web("health: //host"), `f.yaml:3:13: health: "//host"`+noPath)
	f(web("health: '/a#b'"), `f.yaml:3:13: health: "/a#b"`+noPath)
	f(web("health: /%zz"), `f.yaml:3:13: health: "/%zz"`+noPath)
	f(web("paths: ['/a?b']"), `f.yaml:3:12: paths: "/a?b"`+noPath)
	f(web("paths: ['/a b']"), `f.yaml:3:12: paths: "/a b": ' ' cannot be in a path; write it percent-encoded, like %20`)
	reference := "; write it like nginx:1.27 or registry.example/team/app@sha256:…"
	f(web("image: Nginx"), `f.yaml:3:12: image: "Nginx": invalid reference format: repository name (library/Nginx) must be lowercase`+reference)
	for _, image := range []string{"a//b", "a:b:c", "nginx:", "a@sha256:12", "a/-b"} {
		f(web("image: '"+image+"'"), `f.yaml:3:12: image: "`+image+`": invalid reference format`+reference)
	}
	f(web(`env: {A: "x${HOME}y"}`), `f.yaml:3:14: env.A: "x${HOME}y" would stay as it is, for variables are not replaced here; write the value, or $${HOME} if these letters are meant`)
	f(web(`command: [./app, "${PORT}"]`), `f.yaml:3:22: command[1]: "${PORT}" would stay as it is, for variables are not replaced here; write the value, or $${PORT} if these letters are meant`)
	f(web(`health: "${HEALTH:-/up}"`), `f.yaml:3:13: health: "${HEALTH:-/up}" would stay as it is, for variables are not replaced here; write the value, or $${HEALTH:-/up} if these letters are meant`)

	f(strings.Repeat("#", maxConfig+1), `f.yaml:1:1: the file has 1048577 bytes; 1048576 are allowed`)
}

func TestConfig_BrokenYAMLHasItsPlace(t *testing.T) {
	for _, text := range []string{"services:\n\tweb:\n", "services: {web: {", "services:\n  web: {}\n  web: {}\n", "a: b: c", "\x00", "\xff\xfe"} {
		_, err := overlay(t, text, events.DefaultServiceSpec())
		if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:") || strings.Contains(err.Error(), "\n") || console.ExitCode(err) != console.ExitUsage {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestConfig_BadFunctionsHaveTheirPlace(t *testing.T) {
	_, err := overlay(t, "services:\n  web:\n    algorithm: course\n    functions:\n      h: i +\n      phi: i/0\n", events.DefaultServiceSpec())
	if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:5:10: functions.h: ") {
		t.Error(err)
	}
	_, err = overlay(t, "services:\n  web:\n    algorithm: course\n    functions:\n      phi: i/(j-3)\n", events.DefaultServiceSpec())
	if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:5:12: functions.phi: ") {
		t.Error(err)
	}
}

// A file that names a service says all of it, whatever was written once: a key that
// is taken away again loses its value. How many replicas there are stays.
func TestConfig_AFileSaysAllOfItsService(t *testing.T) {
	stored := events.DefaultServiceSpec()
	stored.Replicas, stored.Env, stored.Paths = 7, map[string]string{"A": "a"}, []string{"/x"}
	f := func(text string, change func(*events.ServiceSpec)) {
		t.Helper()
		want := stored
		if strings.Contains(text, "services: {web") || strings.Contains(text, "shop") {
			want = events.DefaultServiceSpec()
			want.Replicas = stored.Replicas
		}
		change(&want)
		got, err := overlay(t, text, stored)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n got %+v, %v\nwant %+v", text, got, err, want)
		}
	}
	f("", func(*events.ServiceSpec) {})
	f("# nothing\n", func(*events.ServiceSpec) {})
	f("services: {}\n", func(*events.ServiceSpec) {})
	f("services: {shop: {}}\n", func(s *events.ServiceSpec) { s.Name = "shop" })
	f("services: {web: {replicas: 2}}\n", func(s *events.ServiceSpec) { s.Replicas = 2 })
	f("services: {web: {load_factor: 0, grace: 0s, paths: []}}\n", func(s *events.ServiceSpec) { s.LoadFactor, s.Grace, s.Paths = 0, 0, []string{} })
	f("services: {web: {algorithm: course}}\n", func(s *events.ServiceSpec) { s.Algorithm, s.Slots = events.Course, 512 })
	f("services: {web: {algorithm: course, slots: 1024}}\n", func(s *events.ServiceSpec) { s.Algorithm, s.Slots = events.Course, 1024 })
	f("services: {web: {env: {B: b}}}\n", func(s *events.ServiceSpec) { s.Env = map[string]string{"B": "b"} })
	f("services: {web: {key: {from: cookie}}}\n", func(s *events.ServiceSpec) { s.Key.From = "cookie" })
	f("services: {web: {command: [./app], paths: [/]}}\n", func(s *events.ServiceSpec) { s.Command, s.Paths = []string{"./app"}, []string{"/"} })
	f("services: {web: {command: [./app]}}\n", func(s *events.ServiceSpec) { s.Command, s.Paths = []string{"./app"}, nil })
	f("services: {web: {image: shop, port: 80}}\n", func(s *events.ServiceSpec) { s.Image, s.Port, s.Paths = "shop", 80, nil })
	f("services: {web: {limits: {memory: 64MiB, cpus: 2}}}\n", func(s *events.ServiceSpec) { s.Limits = events.Limits{Memory: 64 << 20, CPUs: 2} })
	f("services: {web: {replicas: +2, load_factor: 1.5}}\n", func(s *events.ServiceSpec) { s.Replicas, s.LoadFactor = 2, 1.5 })
	f("---\nservices: {web: {health: '/up?full=1'}}\n...\n", func(s *events.ServiceSpec) { s.Health = "/up?full=1" })
	f("services: {web: {env: {B: 'a$${X}b$Y'}}}\n", func(s *events.ServiceSpec) { s.Env = map[string]string{"B": "a${X}b$Y"} })
	f("services: {web: {command: [/bin/sh, -ec, 'exec ./app --port ${PORT}']}}\n", func(s *events.ServiceSpec) {
		s.Command, s.Paths = []string{"/bin/sh", "-ec", "exec ./app --port ${PORT}"}, nil
	})
	f("services: {web: {image: 'localhost:5000/a/b:1', paths: [/x]}}\n", func(s *events.ServiceSpec) { s.Image, s.Paths = "localhost:5000/a/b:1", []string{"/x"} })
	f("services: {web: {limits: {memory: 67108864}}}\n", func(s *events.ServiceSpec) { s.Limits = events.Limits{Memory: 64 << 20} })

	stored.Slots = 4096
	f("services: {web: {algorithm: balanced}}\n", func(*events.ServiceSpec) {})
	stored.Algorithm, stored.Slots = events.Course, 512
	f("services: {web: {algorithm: balanced}}\n", func(s *events.ServiceSpec) { s.Algorithm, s.Slots = events.Balanced, 16384 })
}

func TestConfig_AFaultLeavesTheBase(t *testing.T) {
	stored := events.DefaultServiceSpec()
	stored.Replicas = 100
	got, err := overlay(t, "services: {web: {algorithm: course}}", stored) // fine for a new service
	if err == nil || !reflect.DeepEqual(got, stored) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzConfig(f *testing.F) {
	for _, s := range []string{"services:\n  web:\n    replicas: 3\n", "services: {web: {env: {A: b}, key: {from: path}}}", "a: &x [*x]", "? {a: b}\n: c", "<<: {}", "%YAML 1.2\n---\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConfig("f.yaml", []byte(text))
		if err == nil {
			_, err = c.Overlay(events.DefaultServiceSpec())
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f.yaml:") {
			t.Errorf("%q: the error has no place: %v", text, err)
		}
	})
}

// A flag stays what is blamed when the file has the same key.
func TestFlags_AFaultIsOfTheFlagThatWins(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ringway.yaml")
	if err := os.WriteFile(file, []byte("services: {web: {replicas: 4}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var f Flags
	cmd := &cobra.Command{}
	f.Add(cmd)
	if err := cmd.ParseFlags([]string{"--config", file, "--replicas", "-1"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := f.Spec(cmd); err == nil || err.Error() != "--replicas: -1 is too few; use 0 (none for now) or more" {
			t.Error(err)
		}
	}
}
