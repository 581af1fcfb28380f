package sidecarclient

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

// countingTexts counts the bytes of text that rerank calls send.
type countingTexts struct {
	sidecarv1.RerankServiceClient
	calls, bytes int
}

func (c *countingTexts) Rerank(
	ctx context.Context, request *sidecarv1.RerankRequest, options ...grpc.CallOption,
) (*sidecarv1.RerankResponse, error) {
	c.calls++
	for _, candidate := range request.GetCandidates() {
		c.bytes += len(candidate.GetTitle()) + len(candidate.GetText())
	}
	return c.RerankServiceClient.Rerank(ctx, request, options...)
}

func TestRerankByDigestSendsATextOnce(t *testing.T) {
	client := dial(t)
	counting := &countingTexts{RerankServiceClient: client.Rerank}
	client.Rerank = counting
	list := candidates()
	list[0].Text += " As sent by the Go client."
	request := &sidecarv1.RerankRequest{Query: teaQuery, Candidates: list}
	whole := 0
	for _, candidate := range list {
		whole += len(candidate.GetTitle()) + len(candidate.GetText())
	}

	first, err := client.RerankByDigest(patient(t), request)
	if err != nil {
		t.Fatal(err)
	}
	if counting.calls != 2 || counting.bytes == 0 || counting.bytes > whole {
		t.Errorf("%d calls sent %d of %d bytes, want 2 calls that send what is needed",
			counting.calls, counting.bytes, whole)
	}
	sent := counting.bytes
	again, err := client.RerankByDigest(patient(t), request)
	if err != nil {
		t.Fatal(err)
	}
	if counting.calls != 3 || counting.bytes != sent {
		t.Errorf("the second time %d calls sent %d bytes", counting.calls-2, counting.bytes-sent)
	}
	checkSameRanking(t, again, first)

	request.Options = &sidecarv1.RankingOptions{TopK: proto.Int32(int32(len(list)))}
	byText, err := client.Rerank.Rerank(patient(t), request)
	if err != nil {
		t.Fatal(err)
	}
	checkSameRanking(t, byText.GetRanking(), first)
}

func TestDigestOfAnotherTextIsRefused(t *testing.T) {
	list := candidates()
	list[1].ContentDigest = Digest(list[0].GetTitle(), list[0].GetText())
	_, err := dial(t).Rerank.Rerank(patient(t),
		&sidecarv1.RerankRequest{Query: teaQuery, Candidates: list})
	checkBadField(t, err, "candidates[1].content_digest")
}

func TestCallersAreServedAlike(t *testing.T) {
	client := dial(t)
	request := &sidecarv1.RerankRequest{Query: teaQuery, Candidates: candidates()}
	var orders [][]string
	for _, caller := range []string{"web", "batch"} {
		response, err := client.Rerank.Rerank(WithCaller(patient(t), caller), request)
		if err != nil {
			t.Fatal(err)
		}
		orders = append(orders, DocIDs(response.GetRanking()))
	}
	if !slices.Equal(orders[0], orders[1]) {
		t.Errorf("one caller got %v, another %v", orders[0], orders[1])
	}
}
