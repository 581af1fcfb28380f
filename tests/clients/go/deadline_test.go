package sidecarclient

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

// manyCandidates is a list whose reranking takes a while.
func manyCandidates() []*sidecarv1.Candidate {
	var list []*sidecarv1.Candidate
	for i := range 400 {
		p := catalogue[i%len(catalogue)]
		list = append(list, &sidecarv1.Candidate{
			DocId: fmt.Sprintf("%s-%d", p.id, i),
			Title: p.title,
			Text:  fmt.Sprintf("Model %d. %s", i, strings.Repeat(p.text+" ", 8)),
		})
	}
	return list
}

func TestShortDeadlineIsKeptOrTheAnswerSaysWhatIsMissing(t *testing.T) {
	client := dial(t)
	request := &sidecarv1.RerankRequest{Query: teaQuery, Candidates: manyCandidates()}
	for _, milliseconds := range []time.Duration{1, 30, 150} {
		timeout := milliseconds * time.Millisecond
		t.Run(timeout.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			response, err := client.Rerank.Rerank(ctx, request)
			if err != nil {
				if status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("got %v, want DEADLINE_EXCEEDED", err)
				}
				return
			}
			checkDegradation(t, response.GetRanking())
		})
	}
}

// checkDegradation checks that a ranking is degraded exactly when the time was short for a stage,
// and that a partial stage scored a part: the best hits, and the others say what they lack.
func checkDegradation(t *testing.T, ranking *sidecarv1.Ranking) {
	t.Helper()
	short := slices.ContainsFunc(ranking.GetStages(), func(report *sidecarv1.StageReport) bool {
		return report.GetReason() == sidecarv1.StageReason_STAGE_REASON_DEADLINE
	})
	if ranking.GetDegraded() != short || len(Missing(ranking)) > 0 != short {
		t.Errorf("degraded is %v, but the stages report %v", ranking.GetDegraded(), ranking.GetStages())
	}
	for _, report := range ranking.GetStages() {
		partial := report.GetState() == sidecarv1.StageState_STAGE_STATE_PARTIAL
		in, out := report.GetCandidatesIn(), report.GetCandidatesOut()
		if partial && (out < 1 || out >= in || ranking.GetStage() < report.GetStage()) {
			t.Errorf("a partial stage scored %d of %d: %v", out, in, ranking)
		}
	}
	t.Log(Missing(ranking))
}

func TestMissingSaysWhatADegradedRankingLacks(t *testing.T) {
	in := int32(50)
	ranking := &sidecarv1.Ranking{Degraded: true, Stages: []*sidecarv1.StageReport{
		{Stage: sidecarv1.Stage_STAGE_FIRST_RERANK, State: sidecarv1.StageState_STAGE_STATE_COMPLETE},
		{
			Stage:         sidecarv1.Stage_STAGE_SECOND_RERANK,
			State:         sidecarv1.StageState_STAGE_STATE_PARTIAL,
			Reason:        sidecarv1.StageReason_STAGE_REASON_DEADLINE,
			CandidatesIn:  &in,
			CandidatesOut: 16,
		},
	}}
	want := []string{"SECOND_RERANK PARTIAL 16 of 50: DEADLINE"}
	if got := Missing(ranking); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMinimumStageIsReachedOrTheCallFails(t *testing.T) {
	client := dial(t)
	request := &sidecarv1.RerankRequest{
		Query:      teaQuery,
		Candidates: manyCandidates(),
		Options:    &sidecarv1.RankingOptions{MinimumStage: sidecarv1.Stage_STAGE_SECOND_RERANK},
	}
	response, err := client.Rerank.Rerank(patient(t), request)
	if err != nil || response.GetRanking().GetStage() != sidecarv1.Stage_STAGE_SECOND_RERANK {
		t.Errorf("with time enough got %v and %v", response.GetRanking().GetStage(), err)
	}
	request.Options.Cache = sidecarv1.CachePolicy_CACHE_POLICY_BYPASS
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := client.Rerank.Rerank(ctx, request); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("with too little time got %v, want DEADLINE_EXCEEDED", err)
	}
}

func TestCancelEndsTheStreamAndLeavesTheServerFree(t *testing.T) {
	client := dial(t)
	ctx, cancel := context.WithCancel(patient(t))
	defer cancel()
	stream, err := client.Rerank.RerankStream(ctx, &sidecarv1.RerankStreamRequest{
		Rerank: &sidecarv1.RerankRequest{Query: teaQuery, Candidates: manyCandidates()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := readAll(stream.Recv); status.Code(err) != codes.Canceled {
		t.Errorf("the stream ended with %v, want CANCELED", err)
	}
	if _, err := client.RerankOr(patient(t), candidates(), teaQuery, patience); err != nil {
		t.Errorf("the next call failed: %v", err)
	}
}

func TestRerankOrKeepsTheOwnOrderWithoutAnAnswer(t *testing.T) {
	own := candidates()
	unreachable, err := Dial(closedAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	defer unreachable.Connection.Close()
	for _, test := range []struct {
		what    string
		client  *Client
		timeout time.Duration
		want    codes.Code
	}{
		{"no time left", dial(t), 0, codes.DeadlineExceeded},
		{"nobody listens", unreachable, patience, codes.Unavailable},
	} {
		t.Run(test.what, func(t *testing.T) {
			ranked, err := test.client.RerankOr(patient(t), own, teaQuery, test.timeout)
			if status.Code(err) != test.want {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if !slices.Equal(ranked, own) {
				t.Errorf("got %v, want the own order", ranked)
			}
		})
	}
}

func TestSearchOrKeepsTheOwnOrderWithoutAnAnswer(t *testing.T) {
	own := []string{"tent", "blanket"}
	request := &sidecarv1.SearchRequest{Collection: "no-such-collection", Query: teaQuery}
	ids, err := dial(t).SearchOr(patient(t), own, request, patience)
	if status.Code(err) != codes.NotFound || !slices.Equal(ids, own) {
		t.Errorf("got %v and %v, want NOT_FOUND and the own order", ids, err)
	}
}

func closedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
