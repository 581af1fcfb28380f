package sidecarclient

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Refusal is what the sidecar says about a call that it refused.
type Refusal struct {
	Code       codes.Code
	Domain     string            // "sidecar"; empty if the error is not the sidecar's own
	Reason     string            // stable name: "INVALID_FIELD", "COLLECTION_NOT_FOUND", ...
	Metadata   map[string]string // what the reason is about
	Fields     map[string]string // request field -> what is wrong with it
	RetryAfter time.Duration     // wait at least this long; 0 if a retry will not help
}

// ReadRefusal reads the google.rpc details of an error that a call returned.
func ReadRefusal(err error) Refusal {
	answer := status.Convert(err)
	refusal := Refusal{Code: answer.Code(), Fields: map[string]string{}}
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			refusal.Domain = detail.GetDomain()
			refusal.Reason = detail.GetReason()
			refusal.Metadata = detail.GetMetadata()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				refusal.Fields[violation.GetField()] = violation.GetDescription()
			}
		case *errdetails.RetryInfo:
			refusal.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	return refusal
}
