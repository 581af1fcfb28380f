package sidecarclient

import (
	"context"
	"crypto/sha256"
	"strings"

	"google.golang.org/protobuf/proto"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

// RerankByDigest reranks candidates by the digests of their texts, and sends again, with its text,
// each whose text the sidecar does not have (any more). It saves the wire where the same documents
// come again and again. The ranking has all candidates, whatever the request's top_k.
func (c *Client) RerankByDigest(
	ctx context.Context, request *sidecarv1.RerankRequest,
) (*sidecarv1.Ranking, error) {
	first := withTexts(request, nil)
	first.Options.MinimumStage = sidecarv1.Stage_STAGE_UNSPECIFIED // not before the texts are there
	response, err := c.Rerank.Rerank(ctx, first)
	if err != nil {
		return nil, err
	}
	needed := needsText(response.GetRanking())
	enough := response.GetRanking().GetStage() >= request.GetOptions().GetMinimumStage()
	if len(needed) == 0 && enough {
		return response.GetRanking(), nil
	}
	response, err = c.Rerank.Rerank(ctx, withTexts(request, needed))
	return response.GetRanking(), err
}

// Digest is what the contract calls a candidate's content_digest.
func Digest(title, text string) []byte {
	read := title + "\n" + text
	if strings.TrimSpace(text) == "" {
		read = title
	} else if strings.TrimSpace(title) == "" {
		read = text
	}
	sum := sha256.Sum256([]byte(read))
	return sum[:]
}

// needsText returns the ids of the hits that wait for their text.
func needsText(ranking *sidecarv1.Ranking) map[string]bool {
	ids := map[string]bool{}
	for _, hit := range ranking.GetHits() {
		if hit.GetUnscoredReason() == sidecarv1.UnscoredReason_UNSCORED_REASON_NEEDS_TEXT {
			ids[hit.GetDocId()] = true
		}
	}
	return ids
}

// withTexts returns the request with digests, with texts for the needed candidates only.
func withTexts(
	request *sidecarv1.RerankRequest, needed map[string]bool,
) *sidecarv1.RerankRequest {
	lean := proto.Clone(request).(*sidecarv1.RerankRequest)
	for _, candidate := range lean.GetCandidates() {
		candidate.ContentDigest = Digest(candidate.GetTitle(), candidate.GetText())
		if !needed[candidate.GetDocId()] {
			candidate.Title, candidate.Text = "", ""
		}
	}
	if lean.Options == nil {
		lean.Options = &sidecarv1.RankingOptions{}
	}
	lean.Options.TopK = proto.Int32(int32(len(lean.GetCandidates())))
	return lean
}
