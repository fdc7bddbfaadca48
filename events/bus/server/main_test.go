package server_test

import (
	"testing"

	"go.uber.org/goleak"

	"ringway/internal/testkit"
)

func TestMain(m *testing.M) {
	if testkit.ServeBus() {
		return
	}
	goleak.VerifyTestMain(m)
}
