package sidecarclient

import (
	"fmt"
	"strings"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

// Missing says, for a log, what a degraded ranking lacks, a stage at a time:
// "SECOND_RERANK PARTIAL 16 of 50: DEADLINE". It is empty where nothing lacks.
func Missing(ranking *sidecarv1.Ranking) []string {
	if !ranking.GetDegraded() {
		return nil
	}
	var missing []string
	for _, report := range ranking.GetStages() {
		if report.GetState() == sidecarv1.StageState_STAGE_STATE_COMPLETE {
			continue
		}
		missing = append(missing, fmt.Sprintf("%s %s %d of %d: %s",
			strings.TrimPrefix(report.GetStage().String(), "STAGE_"),
			strings.TrimPrefix(report.GetState().String(), "STAGE_STATE_"),
			report.GetCandidatesOut(), report.GetCandidatesIn(),
			strings.TrimPrefix(report.GetReason().String(), "STAGE_REASON_")))
	}
	return missing
}
