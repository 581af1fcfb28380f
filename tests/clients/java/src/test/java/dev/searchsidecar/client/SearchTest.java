package dev.searchsidecar.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.searchsidecar.v1.DeleteDocumentsRequest;
import dev.searchsidecar.v1.DocumentServiceGrpc;
import dev.searchsidecar.v1.Filter;
import dev.searchsidecar.v1.GetDocumentsRequest;
import dev.searchsidecar.v1.GetStatsRequest;
import dev.searchsidecar.v1.Ranking;
import dev.searchsidecar.v1.SearchServiceGrpc;
import dev.searchsidecar.v1.SearchStreamRequest;
import dev.searchsidecar.v1.Stage;
import dev.searchsidecar.v1.StageReport;
import dev.searchsidecar.v1.StageScore;
import dev.searchsidecar.v1.StageState;
import dev.searchsidecar.v1.UpsertDocumentsResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class SearchTest {
  private static final String COLLECTION = "java-search";

  private final SidecarClient client = Sidecar.connect();
  private final SearchServiceGrpc.SearchServiceBlockingStub search =
      SearchServiceGrpc.newBlockingStub(client.channel());
  private final DocumentServiceGrpc.DocumentServiceBlockingStub documents =
      DocumentServiceGrpc.newBlockingStub(client.channel());
  private final List<UpsertDocumentsResponse> acknowledgements = new ArrayList<>();

  @BeforeEach
  void fill() {
    Catalogue.create(client, COLLECTION);
    client.upsert(COLLECTION, Catalogue.batches(), Sidecar.PATIENCE, acknowledgements::add);
  }

  @AfterEach
  void drop() {
    Catalogue.drop(client, COLLECTION);
    client.close();
  }

  @Test
  void everyBatchIsAcknowledgedAsDurableAndSearchable() {
    var counts =
        acknowledgements.stream().map(UpsertDocumentsResponse::getDocumentCount).toList();
    assertEquals(List.of(4, 4, 2), counts);
    long before = 0;
    for (var acknowledgement : acknowledgements) {
      long sequence = acknowledgement.getSequence();
      assertTrue(sequence > before);
      assertTrue(acknowledgement.getDurableSequence() >= sequence);
      assertTrue(acknowledgement.getSearchableSequence() >= sequence);
      before = sequence;
    }
    var stats =
        documents.getStats(GetStatsRequest.newBuilder().setCollection(COLLECTION).build());
    assertEquals(10, stats.getDocumentCount());
  }

  @Test
  void documentsAreReadAsWrittenAndGoneWhenDeleted() {
    var ids = List.of("tent", "no-such-thing", "samovar");
    var read =
        documents.getDocuments(
            GetDocumentsRequest.newBuilder().setCollection(COLLECTION).addAllDocIds(ids).build());
    assertEquals(List.of("no-such-thing"), read.getMissingDocIdsList());
    assertEquals(
        List.of(Catalogue.document("tent"), Catalogue.document("samovar")),
        read.getDocumentsList().stream()
            .map(document -> document.toBuilder().clearVersion().build())
            .toList());
    assertTrue(read.getDocumentsList().stream().allMatch(document -> document.getVersion() > 0));

    var delete =
        DeleteDocumentsRequest.newBuilder().setCollection(COLLECTION).addAllDocIds(ids).build();
    assertEquals(2, documents.deleteDocuments(delete).getDeletedCount());
    var left =
        client.searchOr(
            List.of(), Catalogue.search(COLLECTION).build(), Sidecar.PATIENCE);
    assertNull(left.failure());
    assertEquals(8, left.bestFirst().size());
    assertFalse(left.bestFirst().contains("tent") || left.bestFirst().contains("samovar"));
  }

  @Test
  void filterOfAndInRangeNotFindsWhatItAllows() {
    assertEquals(
        Set.of("kettle-gooseneck", "kettle-stovetop", "mug-travel", "stove-camping"),
        found(Catalogue.affordable()));
  }

  @Test
  void filterMatchesAnyOfAListOfStrings() {
    var electricAndHome =
        Catalogue.allOf(
            Catalogue.equalTo("tags", Catalogue.string("electric")),
            Catalogue.equalTo("category", Catalogue.string("home")));
    assertEquals(Set.of("lamp-desk"), found(electricAndHome));
  }

  @Test
  void filterThatMatchesNothingFindsNothing() {
    assertEquals(Set.of(), found(Catalogue.within("price_cents", 7000, 8000)));
  }

  @Test
  void streamRefinesAndEndsWithTheUnaryRanking() {
    var request = Catalogue.search(COLLECTION).setFilter(Catalogue.affordable()).build();
    var frames = new ArrayList<Ranking>();
    search
        .searchStream(SearchStreamRequest.newBuilder().setSearch(request).build())
        .forEachRemaining(response -> frames.add(response.getRanking()));
    Rankings.checkFrames(
        frames, Stage.STAGE_FUSED, Stage.STAGE_FIRST_RERANK, Stage.STAGE_SECOND_RERANK);
    var last = frames.get(frames.size() - 1);
    Catalogue.checkForTea(last.getHits(0).getDocId());
    Rankings.checkSame(search.search(request).getRanking(), last);
  }

  @Test
  void everyStageIsReportedAndExplained() {
    var request = Catalogue.search(COLLECTION).setFilter(Catalogue.affordable()).build();
    var ranking = search.search(request).getRanking();
    var every =
        List.of(
            Stage.STAGE_LEXICAL,
            Stage.STAGE_DENSE,
            Stage.STAGE_FUSED,
            Stage.STAGE_FIRST_RERANK,
            Stage.STAGE_SECOND_RERANK);
    assertEquals(every, ranking.getStagesList().stream().map(StageReport::getStage).toList());
    ranking.getStagesList().forEach(SearchTest::checkReport);
    for (var hit : ranking.getHitsList()) {
      assertEquals(Set.of("title"), hit.getFieldsMap().keySet());
    }

    var best = ranking.getHits(0);
    var scores = best.getExplanationList();
    assertEquals(every, scores.stream().map(StageScore::getStage).toList());
    assertEquals(
        List.of(false, false, false, true, true),
        scores.stream().map(StageScore::hasModelScore).toList());
    assertEquals(best.getScore(), scores.get(4).getScore());
    assertEquals(1, scores.get(4).getRank());
  }

  private static void checkReport(StageReport report) {
    assertEquals(StageState.STAGE_STATE_COMPLETE, report.getState(), report::toString);
    var withModel =
        report.getStage() != Stage.STAGE_LEXICAL && report.getStage() != Stage.STAGE_FUSED;
    assertEquals(withModel, !report.getModel().isEmpty(), report::toString);
    assertEquals(withModel, !report.getModelRevision().isEmpty(), report::toString);
  }

  private Set<String> found(Filter filter) {
    var request = Catalogue.search(COLLECTION).setFilter(filter).build();
    var ranking = search.search(request).getRanking();
    Rankings.checkRanks(ranking);
    return Set.copyOf(SidecarClient.docIds(ranking));
  }
}
