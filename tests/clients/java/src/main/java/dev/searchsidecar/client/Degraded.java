package dev.searchsidecar.client;

import dev.searchsidecar.v1.Ranking;
import dev.searchsidecar.v1.StageReport;
import dev.searchsidecar.v1.StageState;
import java.util.List;

/** What a degraded ranking lacks. */
public final class Degraded {
  private Degraded() {}

  /**
   * For a log, a stage at a time: "SECOND_RERANK PARTIAL 16 of 50: DEADLINE". Empty where nothing
   * lacks.
   */
  public static List<String> missing(Ranking ranking) {
    if (!ranking.getDegraded()) {
      return List.of();
    }
    return ranking.getStagesList().stream()
        .filter(report -> report.getState() != StageState.STAGE_STATE_COMPLETE)
        .map(Degraded::describe)
        .toList();
  }

  private static String describe(StageReport report) {
    return "%s %s %d of %d: %s"
        .formatted(
            report.getStage().name().replaceFirst("STAGE_", ""),
            report.getState().name().replaceFirst("STAGE_STATE_", ""),
            report.getCandidatesOut(),
            report.getCandidatesIn(),
            report.getReason().name().replaceFirst("STAGE_REASON_", ""));
  }
}
