package dev.searchsidecar.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import dev.searchsidecar.v1.Ranking;
import dev.searchsidecar.v1.Stage;
import dev.searchsidecar.v1.StageReport;
import java.util.List;
import java.util.stream.IntStream;

/** What the contract says of rankings. */
final class Rankings {
  private Rankings() {}

  /** These stages in this order, revisions rising by one, only the last final, none degraded. */
  static void checkFrames(List<Ranking> frames, Stage... stages) {
    assertEquals(List.of(stages), frames.stream().map(Ranking::getStage).toList());
    for (int i = 0; i < frames.size(); i++) {
      assertEquals(i + 1, frames.get(i).getRevision());
      assertEquals(i == frames.size() - 1, frames.get(i).getFinal(), "final of frame " + i);
      assertFalse(frames.get(i).getDegraded(), () -> "degraded: " + frames);
      checkRanks(frames.get(i));
    }
  }

  /**
   * Rankings of a request of a session, of which those that a newer one has overtaken are left out:
   * revisions rise, and the last alone is final, of this stage and not degraded.
   */
  static void checkNewest(List<Ranking> rankings, Stage stage) {
    var revisions = rankings.stream().map(Ranking::getRevision).toList();
    assertEquals(revisions.stream().sorted().distinct().toList(), revisions);
    var last = rankings.get(rankings.size() - 1);
    assertEquals(List.of(last), rankings.stream().filter(Ranking::getFinal).toList());
    assertEquals(stage, last.getStage(), last::toString);
    assertFalse(last.getDegraded(), last::toString);
  }

  static void checkRanks(Ranking ranking) {
    var ranks = ranking.getHitsList().stream().map(hit -> hit.getRank()).toList();
    assertEquals(IntStream.rangeClosed(1, ranks.size()).boxed().toList(), ranks);
  }

  /** The law that ties a stream to its unary call. */
  static void checkSame(Ranking expected, Ranking actual) {
    assertEquals(lawful(expected), lawful(actual));
  }

  private static Ranking lawful(Ranking ranking) {
    var copy = ranking.toBuilder().clearRevision().clearRankingToken();
    copy.getStagesBuilderList().forEach(Rankings::clearWhatMayDiffer);
    return copy.build();
  }

  private static void clearWhatMayDiffer(StageReport.Builder report) {
    report.clearElapsedMilliseconds().clearQueueMilliseconds().clearCandidatesCached();
  }
}
