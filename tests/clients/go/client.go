// Package sidecarclient is the thin layer that a Go search service puts between its own code and
// the sidecar: a connection, a deadline on every call, and the service's own order where the
// sidecar has no answer in time. Copy it and make it yours.
package sidecarclient

//go:generate ./generate.sh

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // acts on healthCheckConfig below
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

// serviceConfig retries what the contract calls safe to retry, and sends nothing to a sidecar that
// drains.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "sidecar.v1.SearchService"},
  "methodConfig": [{
    "name": [
      {"service": "sidecar.v1.SearchService"}, {"service": "sidecar.v1.RerankService"},
      {"service": "sidecar.v1.FeedbackService", "method": "LogEvents"}
    ],
    "retryPolicy": {
      "maxAttempts": 3,
      "initialBackoff": "0.02s", "maxBackoff": "0.2s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    }
  }]
}`

// Client calls one sidecar. It is safe for concurrent use.
type Client struct {
	Connection  *grpc.ClientConn
	Search      sidecarv1.SearchServiceClient
	Rerank      sidecarv1.RerankServiceClient
	Documents   sidecarv1.DocumentServiceClient
	Collections sidecarv1.CollectionServiceClient
	Feedback    sidecarv1.FeedbackServiceClient
}

// Dial returns a client of the sidecar at address ("127.0.0.1:50051"). It connects on first use.
func Dial(address string) (*Client, error) {
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig))
	if err != nil {
		return nil, err
	}
	return &Client{
		Connection:  connection,
		Search:      sidecarv1.NewSearchServiceClient(connection),
		Rerank:      sidecarv1.NewRerankServiceClient(connection),
		Documents:   sidecarv1.NewDocumentServiceClient(connection),
		Collections: sidecarv1.NewCollectionServiceClient(connection),
		Feedback:    sidecarv1.NewFeedbackServiceClient(connection),
	}, nil
}

// WithCaller returns a context whose calls count for the share of a caller, one of those that get
// equal shares of a sidecar that is full.
func WithCaller(ctx context.Context, caller string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "sidecar-caller", caller)
}

// SearchOr returns document ids, best first, as far as the sidecar came within timeout, and own if
// it did not come to any ranking. The error is for the log: the ids can be shown either way.
func (c *Client) SearchOr(
	ctx context.Context, own []string, request *sidecarv1.SearchRequest, timeout time.Duration,
) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stream, err := c.Search.SearchStream(ctx, &sidecarv1.SearchStreamRequest{Search: request})
	if err != nil {
		return own, err
	}
	best := own
	for {
		response, err := stream.Recv() // the whole ranking as of one more stage
		if errors.Is(err, io.EOF) {
			return best, nil
		}
		if err != nil {
			return best, err // the last ranking that came is still good
		}
		best = DocIDs(response.GetRanking())
	}
}

// RerankOr returns candidates, best first, as far as the sidecar came within timeout, and own if it
// did not come to any ranking. The error is for the log.
func (c *Client) RerankOr(
	ctx context.Context, own []*sidecarv1.Candidate, query string, timeout time.Duration,
) ([]*sidecarv1.Candidate, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stream, err := c.Rerank.RerankStream(ctx, &sidecarv1.RerankStreamRequest{
		Rerank: &sidecarv1.RerankRequest{
			Query:      query,
			Candidates: own,
			Options:    &sidecarv1.RankingOptions{TopK: proto.Int32(int32(len(own)))},
		},
	})
	if err != nil {
		return own, err
	}
	best := own
	for {
		response, err := stream.Recv() // the whole ranking as of one more stage
		if errors.Is(err, io.EOF) {
			return best, nil
		}
		if err != nil {
			return best, err // the last ranking that came is still good
		}
		best = inOrder(response.GetRanking(), own)
	}
}

// Upsert writes batches over one stream and returns the acknowledgement of each, in order. On an
// error, the batches acknowledged so far are stored and the others are to be sent again.
func (c *Client) Upsert(
	ctx context.Context, collection string, batches ...[]*sidecarv1.Document,
) ([]*sidecarv1.UpsertDocumentsResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Documents.UpsertDocuments(ctx)
	if err != nil {
		return nil, err
	}
	// Sending ends early when the stream breaks; Recv below then says why.
	go func() {
		for _, documents := range batches {
			request := &sidecarv1.UpsertDocumentsRequest{
				Collection:      collection,
				Documents:       documents,
				Acknowledgement: sidecarv1.Acknowledgement_ACKNOWLEDGEMENT_SEARCHABLE,
			}
			if stream.Send(request) != nil {
				return
			}
		}
		_ = stream.CloseSend()
	}()
	return readAll(stream.Recv)
}

// DocIDs returns the ids of a ranking's hits, best first.
func DocIDs(ranking *sidecarv1.Ranking) []string {
	ids := make([]string, 0, len(ranking.GetHits()))
	for _, hit := range ranking.GetHits() {
		ids = append(ids, hit.GetDocId())
	}
	return ids
}

// readAll reads a stream to its end, or until it breaks.
func readAll[R any](receive func() (R, error)) ([]R, error) {
	var responses []R
	for {
		response, err := receive()
		if errors.Is(err, io.EOF) {
			return responses, nil
		}
		if err != nil {
			return responses, err
		}
		responses = append(responses, response)
	}
}

// inOrder returns the own candidates in the order of a ranking of all of them.
func inOrder(ranking *sidecarv1.Ranking, own []*sidecarv1.Candidate) []*sidecarv1.Candidate {
	byID := make(map[string]*sidecarv1.Candidate, len(own))
	for _, candidate := range own {
		byID[candidate.GetDocId()] = candidate
	}
	ordered := make([]*sidecarv1.Candidate, 0, len(own))
	for _, id := range DocIDs(ranking) {
		ordered = append(ordered, byID[id])
	}
	return ordered
}
