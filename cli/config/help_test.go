package config_test

import (
	"reflect"
	"strings"
	"testing"

	"ringway/cli/client"
	"ringway/cli/config"
	"ringway/cli/up"
	"ringway/events"
)

// The example of the help is a file that can be used.
func TestConfig_TheExampleOfTheHelp(t *testing.T) {
	help := up.Command(&client.Client{}).Long
	_, rest, ok := strings.Cut(help, "  services:\n")
	if !ok {
		t.Fatal("the help has no example")
	}
	text := "  services:\n" + rest
	got, err := config.OverlayOf(t, text, events.DefaultServiceSpec())
	if err != nil {
		t.Fatal(err)
	}
	want := events.DefaultServiceSpec()
	want.Command, want.Env = []string{"python3", "app.py", "{port}"}, map[string]string{"LEVEL": "info"}
	want.Image, want.Port, want.Limits = "shop:1.2", 8080, events.Limits{Memory: 512 << 20, CPUs: 1, PIDs: 256}
	want.Functions = events.CourseFunctions{H: "i*i + 2*i + 17", Phi: "i*i + j*j + 2*j + 25"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// It names every key.
	for key := range config.ServiceFields {
		if !strings.Contains(text, " "+key+":") {
			t.Errorf("the example does without %s", key)
		}
	}
}
