package docker_test

import (
	"os"
	"testing"

	"ringway/agent/docker/dockertest"
)

func TestMain(m *testing.M) { os.Exit(dockertest.Run(m)) }
