package dev.searchsidecar.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.searchsidecar.v1.Click;
import dev.searchsidecar.v1.Event;
import dev.searchsidecar.v1.EventRefusal;
import dev.searchsidecar.v1.EventResult;
import dev.searchsidecar.v1.EventStatus;
import dev.searchsidecar.v1.FeedbackServiceGrpc;
import dev.searchsidecar.v1.LogEventStreamRequest;
import dev.searchsidecar.v1.LogEventStreamResponse;
import dev.searchsidecar.v1.LogEventsRequest;
import dev.searchsidecar.v1.RankingOptions;
import dev.searchsidecar.v1.RerankRequest;
import dev.searchsidecar.v1.RerankServiceGrpc;
import io.grpc.stub.StreamObserver;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class FeedbackTest {
  private final SidecarClient client = Sidecar.connect();
  private final RerankServiceGrpc.RerankServiceBlockingStub rerank =
      RerankServiceGrpc.newBlockingStub(client.channel());

  @AfterEach
  void close() {
    client.close();
  }

  @Test
  void aClickIsLoggedOnceByTheTokenOfItsRanking() {
    var token = token(false);
    var shown = Catalogue.candidates().get(0).getDocId();
    var request =
        LogEventsRequest.newBuilder()
            .addEvents(click("click " + token, token, shown))
            .addEvents(click("click " + token, token, shown))
            .addEvents(click("not shown " + token, token, "no-such-thing"))
            .addEvents(click("forged " + token, forge(token), shown))
            .build();
    var results =
        FeedbackServiceGrpc.newBlockingStub(client.channel()).logEvents(request).getResultsList();
    assertEquals(
        List.of(
            EventStatus.EVENT_STATUS_ACCEPTED,
            EventStatus.EVENT_STATUS_DUPLICATE,
            EventStatus.EVENT_STATUS_REFUSED,
            EventStatus.EVENT_STATUS_REFUSED),
        results.stream().map(EventResult::getStatus).toList());
    assertTrue(results.get(0).getJoined());
    assertEquals(
        EventRefusal.EVENT_REFUSAL_UNKNOWN_DOCUMENT, results.get(2).getRefusal());
    assertEquals(EventRefusal.EVENT_REFUSAL_FORGED_TOKEN, results.get(3).getRefusal());
  }

  @Test
  void aStreamAnswersEachRequestInOrder() throws Exception {
    var token = token(false);
    var shown = Catalogue.candidates().get(0).getDocId();
    var answers = new ArrayList<LogEventStreamResponse>();
    var done = new CompletableFuture<Void>();
    var requests =
        FeedbackServiceGrpc.newStub(client.channel())
            .logEventStream(
                new StreamObserver<LogEventStreamResponse>() {
                  @Override
                  public void onNext(LogEventStreamResponse answer) {
                    answers.add(answer);
                  }

                  @Override
                  public void onError(Throwable failure) {
                    done.completeExceptionally(failure);
                  }

                  @Override
                  public void onCompleted() {
                    done.complete(null);
                  }
                });
    for (int number = 0; number < 3; number++) {
      var event = click("streamed " + number + " " + token, token, shown);
      requests.onNext(LogEventStreamRequest.newBuilder().addEvents(event).build());
    }
    requests.onCompleted();
    done.get(Sidecar.PATIENCE.toSeconds(), TimeUnit.SECONDS);
    for (int number = 0; number < 3; number++) {
      var result = answers.get(number).getResults(0);
      assertEquals("streamed " + number + " " + token, result.getEventId());
      assertEquals(EventStatus.EVENT_STATUS_ACCEPTED, result.getStatus());
    }
  }

  @Test
  void aRankingThatIsNotShownHasNoToken() {
    assertEquals("", token(true));
  }

  private String token(boolean unlogged) {
    var options = RankingOptions.newBuilder().setTopK(10).setUnlogged(unlogged);
    var request =
        RerankRequest.newBuilder()
            .setQuery(Catalogue.QUERY)
            .addAllCandidates(Catalogue.candidates())
            .setOptions(options);
    return rerank.rerank(request.build()).getRanking().getRankingToken();
  }

  /** A token with another letter in its middle. */
  private static String forge(String token) {
    int middle = token.length() / 2;
    var other = token.charAt(middle) == 'A' ? "B" : "A";
    return token.substring(0, middle) + other + token.substring(middle + 1);
  }

  private static Event click(String id, String token, String docId) {
    return Event.newBuilder()
        .setEventId(id)
        .setRankingToken(token)
        .setDocId(docId)
        .setClick(Click.getDefaultInstance())
        .build();
  }
}
