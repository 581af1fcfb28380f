package sidecarclient

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

func rerankFrames(
	t *testing.T, client *Client, rerank *sidecarv1.RerankRequest,
) []*sidecarv1.Ranking {
	t.Helper()
	request := &sidecarv1.RerankStreamRequest{Rerank: rerank}
	stream, err := client.Rerank.RerankStream(patient(t), request)
	if err != nil {
		t.Fatal(err)
	}
	responses, err := readAll(stream.Recv)
	if err != nil {
		t.Fatal(err)
	}
	var frames []*sidecarv1.Ranking
	for _, response := range responses {
		frames = append(frames, response.GetRanking())
	}
	return frames
}

func TestRerankStreamRefinesAndEndsWithTheUnaryRanking(t *testing.T) {
	client := dial(t)
	request := &sidecarv1.RerankRequest{
		Query:      teaQuery,
		Candidates: candidates(),
		Options:    &sidecarv1.RankingOptions{TopK: proto.Int32(10), Explain: true},
	}

	frames := rerankFrames(t, client, request)
	checkFrames(t, frames, sidecarv1.Stage_STAGE_INPUT,
		sidecarv1.Stage_STAGE_FIRST_RERANK, sidecarv1.Stage_STAGE_SECOND_RERANK)

	var asSent []string
	for _, candidate := range request.GetCandidates() {
		asSent = append(asSent, candidate.GetDocId())
	}
	if got := DocIDs(frames[0]); !slices.Equal(got, asSent) {
		t.Errorf("the INPUT frame has %v, want the order as sent, %v", got, asSent)
	}
	final := frames[len(frames)-1]
	checkForTea(t, DocIDs(final)[0])
	unary, err := client.Rerank.Rerank(patient(t), request)
	if err != nil {
		t.Fatal(err)
	}
	checkSameRanking(t, final, unary.GetRanking())
}

func TestRerankFusesTheLexicalSignalFirst(t *testing.T) {
	frames := rerankFrames(t, dial(t), &sidecarv1.RerankRequest{
		Query: teaQuery, Candidates: candidates(), LexicalSignal: true,
	})
	checkFrames(t, frames, sidecarv1.Stage_STAGE_FUSED,
		sidecarv1.Stage_STAGE_FIRST_RERANK, sidecarv1.Stage_STAGE_SECOND_RERANK)
}

func TestRerankOrdersTheInputByTheCallersScores(t *testing.T) {
	list := candidates()
	for i, candidate := range list {
		candidate.Score = proto.Float64(float64(i))
	}
	frames := rerankFrames(t, dial(t), &sidecarv1.RerankRequest{
		Query: teaQuery, Candidates: list,
		Options: &sidecarv1.RankingOptions{LastStage: sidecarv1.Stage_STAGE_INPUT},
	})
	checkFrames(t, frames, sidecarv1.Stage_STAGE_INPUT)
	if best := frames[0].GetHits()[0]; best.GetDocId() != "blanket" || best.GetScore() != 9 {
		t.Errorf("the best is %v, want the candidate with the highest score, blanket", best)
	}
}

func TestRerankOrGivesEveryCandidateBestFirst(t *testing.T) {
	own := candidates()
	ranked, err := dial(t).RerankOr(patient(t), own, teaQuery, patience)
	if err != nil {
		t.Fatal(err)
	}
	var ids, all []string
	for i := range ranked {
		ids, all = append(ids, ranked[i].GetDocId()), append(all, own[i].GetDocId())
	}
	checkSorted(t, "candidates", ids, all...)
	checkForTea(t, ids[0])
}
