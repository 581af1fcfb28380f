package sidecarclient

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

// patience bounds a call that is expected to answer; it is not what a search service would wait.
const patience = time.Minute

func dial(t *testing.T) *Client {
	t.Helper()
	address := os.Getenv("SIDECAR_ADDRESS")
	if address == "" {
		t.Fatal("SIDECAR_ADDRESS is not set: give it the HOST:PORT of a running `sidecar serve`")
	}
	client, err := Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Connection.Close() })
	return client
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// checkFrames checks what the contract says of every stream of rankings: these stages in this
// order, revisions rising by one, only the last final.
func checkFrames(t *testing.T, frames []*sidecarv1.Ranking, want ...sidecarv1.Stage) {
	t.Helper()
	var stages []sidecarv1.Stage
	for i, frame := range frames {
		stages = append(stages, frame.GetStage())
		if frame.GetRevision() != int32(i+1) {
			t.Errorf("frame %d has revision %d", i, frame.GetRevision())
		}
		if last := i == len(frames)-1; frame.GetFinal() != last {
			t.Errorf("frame %d of %d has final = %v", i, len(frames), frame.GetFinal())
		}
		if frame.GetDegraded() {
			t.Errorf("frame %d is degraded: %v", i, frame.GetStages())
		}
		checkRanks(t, frame)
	}
	if !slices.Equal(stages, want) {
		t.Fatalf("stages are %v, want %v", stages, want)
	}
}

func checkRanks(t *testing.T, ranking *sidecarv1.Ranking) {
	t.Helper()
	for i, hit := range ranking.GetHits() {
		if hit.GetRank() != int32(i+1) {
			t.Errorf("hit %d (%s) has rank %d", i, hit.GetDocId(), hit.GetRank())
		}
	}
}

// checkSameRanking checks the law that ties a stream to its unary call: the same ranking,
// measured times, what came from the cache and revision aside.
func checkSameRanking(t *testing.T, got, want *sidecarv1.Ranking) {
	t.Helper()
	if got, want := lawful(got), lawful(want); !proto.Equal(got, want) {
		t.Errorf("rankings differ:\n got %s\nwant %s", prototext.Format(got), prototext.Format(want))
	}
}

func lawful(ranking *sidecarv1.Ranking) *sidecarv1.Ranking {
	copied := proto.Clone(ranking).(*sidecarv1.Ranking)
	copied.Revision, copied.RankingToken = 0, ""
	for _, report := range copied.GetStages() {
		report.ElapsedMilliseconds, report.QueueMilliseconds, report.CandidatesCached = 0, 0, 0
	}
	return copied
}

func checkSorted(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	got = slices.Sorted(slices.Values(got))
	if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("%s are %v, want %v in any order", what, got, want)
	}
}
