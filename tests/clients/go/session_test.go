package sidecarclient

import (
	"testing"

	"google.golang.org/genproto/googleapis/rpc/status"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

func start(id, query string) *sidecarv1.RerankSessionRequest {
	start := &sidecarv1.SessionStart{Query: query, Timeout: durationpb.New(patience)}
	return &sidecarv1.RerankSessionRequest{RequestId: id,
		Frame: &sidecarv1.RerankSessionRequest_Start{Start: start}}
}

func chunk(id string, candidates []*sidecarv1.Candidate) *sidecarv1.RerankSessionRequest {
	chunk := &sidecarv1.SessionCandidates{Candidates: candidates}
	return &sidecarv1.RerankSessionRequest{RequestId: id,
		Frame: &sidecarv1.RerankSessionRequest_Candidates{Candidates: chunk}}
}

func end(id string) *sidecarv1.RerankSessionRequest {
	return &sidecarv1.RerankSessionRequest{RequestId: id,
		Frame: &sidecarv1.RerankSessionRequest_End{End: &sidecarv1.SessionEnd{}}}
}

func cancelFrame(id string) *sidecarv1.RerankSessionRequest {
	return &sidecarv1.RerankSessionRequest{RequestId: id,
		Frame: &sidecarv1.RerankSessionRequest_Cancel{Cancel: &sidecarv1.SessionCancel{}}}
}

// converse sends frames, half-closes, and returns what came back by request.
func converse(
	t *testing.T, client *Client, frames ...*sidecarv1.RerankSessionRequest,
) map[string][]*sidecarv1.RerankSessionResponse {
	t.Helper()
	session, err := client.Rerank.RerankSession(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, frame := range frames {
		if err := session.Send(frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := session.CloseSend(); err != nil {
		t.Fatal(err)
	}
	responses, err := readAll(session.Recv)
	if err != nil {
		t.Fatal(err)
	}
	byRequest := map[string][]*sidecarv1.RerankSessionResponse{}
	for _, response := range responses {
		byRequest[response.GetRequestId()] = append(byRequest[response.GetRequestId()], response)
	}
	return byRequest
}

// sessionRankings checks that a request was started first and returns its rankings.
func sessionRankings(
	t *testing.T, responses []*sidecarv1.RerankSessionResponse,
) []*sidecarv1.Ranking {
	t.Helper()
	if len(responses) == 0 || responses[0].GetStarted() == nil {
		t.Fatalf("the request did not start: %v", responses)
	}
	var rankings []*sidecarv1.Ranking
	for _, response := range responses[1:] {
		rankings = append(rankings, response.GetRanking())
	}
	return rankings
}

// checkNewest checks the rankings of a request of a session, of which those that a newer one has
// overtaken are left out: revisions rise, and the last alone is final, of the stage that is wanted.
func checkNewest(t *testing.T, rankings []*sidecarv1.Ranking, want sidecarv1.Stage) {
	t.Helper()
	revision := int32(0)
	for i, ranking := range rankings {
		if ranking.GetRevision() <= revision {
			t.Errorf("revision %d follows %d", ranking.GetRevision(), revision)
		}
		revision = ranking.GetRevision()
		if last := i == len(rankings)-1; ranking.GetFinal() != last {
			t.Errorf("ranking %d of %d has final = %v", i, len(rankings), ranking.GetFinal())
		}
	}
	if final := rankings[len(rankings)-1]; final.GetStage() != want || final.GetDegraded() {
		t.Errorf("the final ranking is of %v: %v", final.GetStage(), Missing(final))
	}
}

func TestSessionRanksInterleavedRequestsSentInChunks(t *testing.T) {
	client := dial(t)
	queries := map[string]string{
		"tea":   teaQuery,
		"sleep": "sleep outside in bad weather",
		"read":  "light to read by",
	}
	list := candidates()
	answers := converse(t, client,
		start("tea", queries["tea"]), start("sleep", queries["sleep"]),
		chunk("tea", list[:3]), chunk("sleep", list[:5]),
		start("read", queries["read"]), chunk("read", list), end("read"),
		chunk("tea", list[3:]), chunk("sleep", list[5:]),
		end("sleep"), end("tea"),
	)
	for id, query := range queries {
		t.Run(id, func(t *testing.T) {
			rankings := sessionRankings(t, answers[id])
			checkNewest(t, rankings, sidecarv1.Stage_STAGE_SECOND_RERANK)
			unary, err := client.Rerank.Rerank(patient(t),
				&sidecarv1.RerankRequest{Query: query, Candidates: list})
			if err != nil {
				t.Fatal(err)
			}
			checkSameRanking(t, rankings[len(rankings)-1], unary.GetRanking())
		})
	}
}

func TestSessionFailsOneRequestAndServesTheOthers(t *testing.T) {
	answers := converse(t, dial(t),
		start("bad", ""), start("good", teaQuery), chunk("good", candidates()), end("good"))
	responses := answers["bad"]
	failed := responses[len(responses)-1].GetFailed()
	if failed == nil {
		t.Fatalf("the bad request ended with %v", responses)
	}
	checkBadField(t, grpcstatus.ErrorProto(&status.Status{
		Code: failed.GetCode(), Message: failed.GetMessage(), Details: failed.GetDetails(),
	}), "start.query")
	rankings := sessionRankings(t, answers["good"])
	if len(rankings) == 0 || !rankings[len(rankings)-1].GetFinal() {
		t.Errorf("the good request has no final ranking: %v", rankings)
	}
}

func TestSessionCancelFreesTheRequestID(t *testing.T) {
	answers := converse(t, dial(t),
		start("one", "never ranked"), chunk("one", candidates()), cancelFrame("one"),
		start("one", teaQuery), chunk("one", candidates()), end("one"))
	for _, response := range answers["one"] {
		if failed := response.GetFailed(); failed != nil {
			t.Errorf("failed: %v", failed)
		}
	}
	last := answers["one"][len(answers["one"])-1]
	if !last.GetRanking().GetFinal() {
		t.Errorf("the request under the same id ended with %v, want a final ranking", last)
	}
}
