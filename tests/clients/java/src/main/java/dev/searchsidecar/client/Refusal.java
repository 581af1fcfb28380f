package dev.searchsidecar.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;

/**
 * What the sidecar says about a call that it refused.
 *
 * @param code the status
 * @param domain "sidecar"; empty if the error is not the sidecar's own
 * @param reason stable name: "INVALID_FIELD", "COLLECTION_NOT_FOUND", ...
 * @param metadata what the reason is about
 * @param fields request field to what is wrong with it
 * @param retryAfter wait at least this long; zero if a retry will not help
 */
public record Refusal(
    Status.Code code,
    String domain,
    String reason,
    Map<String, String> metadata,
    Map<String, String> fields,
    Duration retryAfter) {

  /** Reads the google.rpc details of a failed call. */
  public static Refusal of(StatusRuntimeException failure) {
    return of(StatusProto.fromThrowable(failure));
  }

  /** Reads the google.rpc details of a status. */
  public static Refusal of(com.google.rpc.Status status) {
    var info = ErrorInfo.getDefaultInstance();
    var fields = new HashMap<String, String>();
    var retryAfter = Duration.ZERO;
    try {
      for (Any detail : status.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          info = detail.unpack(ErrorInfo.class);
        } else if (detail.is(BadRequest.class)) {
          for (var violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            fields.put(violation.getField(), violation.getDescription());
          }
        } else if (detail.is(RetryInfo.class)) {
          var delay = detail.unpack(RetryInfo.class).getRetryDelay();
          retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
        }
      }
    } catch (InvalidProtocolBufferException damaged) {
      throw new IllegalArgumentException("the status carries a damaged detail", damaged);
    }
    var code = Status.fromCodeValue(status.getCode()).getCode();
    return new Refusal(
        code, info.getDomain(), info.getReason(), info.getMetadataMap(), fields, retryAfter);
  }
}
