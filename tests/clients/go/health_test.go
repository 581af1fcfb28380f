package sidecarclient

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

var services = []string{
	"", // the server as a whole
	"sidecar.v1.SearchService",
	"sidecar.v1.RerankService",
	"sidecar.v1.DocumentService",
	"sidecar.v1.CollectionService",
}

func TestHealthCheckKnowsEveryService(t *testing.T) {
	health := grpc_health_v1.NewHealthClient(dial(t).Connection)
	for _, service := range services {
		request := &grpc_health_v1.HealthCheckRequest{Service: service}
		response, err := health.Check(patient(t), request)
		if err != nil || response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q is %v (%v), want SERVING", service, response.GetStatus(), err)
		}
	}
	request := &grpc_health_v1.HealthCheckRequest{Service: "sidecar.v1.NoService"}
	_, err := health.Check(patient(t), request)
	if status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service is %v, want NOT_FOUND", err)
	}
}

func TestHealthWatchTellsTheStateAtOnceAndStaysOpen(t *testing.T) {
	health := grpc_health_v1.NewHealthClient(dial(t).Connection)
	for service, want := range map[string]grpc_health_v1.HealthCheckResponse_ServingStatus{
		"sidecar.v1.SearchService": grpc_health_v1.HealthCheckResponse_SERVING,
		"sidecar.v1.NoService":     grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN,
	} {
		ctx, cancel := context.WithCancel(patient(t))
		watch, err := health.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		if response, err := watch.Recv(); err != nil || response.GetStatus() != want {
			t.Errorf("%q is %v (%v), want %v", service, response.GetStatus(), err, want)
		}
		cancel()
		// Had the server ended the stream by itself, this were io.EOF.
		if _, err := watch.Recv(); status.Code(err) != codes.Canceled {
			t.Errorf("the watch of %q ended with %v, want CANCELED", service, err)
		}
	}
}
