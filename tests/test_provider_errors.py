"""What a provider's refusal means: class, message, and the facts beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmring_lite.exceptions import (
    ContentFilterError,
    ContextLengthError,
    ModelNotFoundError,
    ProviderAuthenticationError,
    ProviderError,
    ProviderOverloadedError,
    ProviderRateLimitError,
    ProviderResponseError,
    ProviderTimeoutError,
)
from llmring_lite.provider_errors import parse_error, parse_retry_after

WIRE = Path(__file__).resolve().parents[1].parent / "shared" / "wire"


def openai_error(message, code=None, kind="invalid_request_error", param=None):
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def google_error(code, message, status, *details):
    return {
        "error": {
            "code": code,
            "message": message,
            "status": status,
            "details": list(details),
        }
    }


def anthropic_error(kind, message):
    return {"type": "error", "error": {"type": kind, "message": message}}


def openrouter_error(raw):
    metadata = {"raw": raw, "provider_name": "Elsewhere"}
    error = {"code": 400, "message": "Provider returned error", "metadata": metadata}
    return {"error": error, "user_id": "user_1"}


@pytest.mark.parametrize(
    ("status", "body", "error_class"),
    [
        # A status that says it all, whatever the body.
        (401, openai_error("no"), ProviderAuthenticationError),
        (403, openai_error("no"), ProviderAuthenticationError),
        (402, openai_error("Insufficient Balance"), ProviderRateLimitError),
        (404, openai_error("no"), ModelNotFoundError),
        (408, openai_error("no"), ProviderTimeoutError),
        (413, openai_error("no"), ContextLengthError),
        (429, openai_error("no"), ProviderRateLimitError),
        (498, openai_error("no"), ProviderOverloadedError),
        (500, openai_error("no"), ProviderResponseError),
        (502, "Bad gateway", ProviderResponseError),
        (503, openai_error("no"), ProviderOverloadedError),
        (529, anthropic_error("overloaded_error", "no"), ProviderOverloadedError),
        (418, {}, ProviderResponseError),
        # A bad key answered with 400.
        (
            400,
            google_error(
                400,
                "API key not valid. Please pass a valid API key.",
                "INVALID_ARGUMENT",
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo"}
                | {"reason": "API_KEY_INVALID"},
            ),
            ProviderAuthenticationError,
        ),
        (
            400,
            google_error(400, "API key expired. Renew it.", "INVALID_ARGUMENT"),
            ProviderAuthenticationError,
        ),
        (
            400,
            {"code": "invalid-argument", "error": "Incorrect API key provided: x."},
            ProviderAuthenticationError,
        ),
        # An unknown model answered with something else than 404.
        (400, openai_error("x", "model_not_found"), ModelNotFoundError),
        (403, openai_error("x", "model_not_found"), ModelNotFoundError),
        (
            400,
            {"code": "invalid-argument", "error": "Model not found: grok-9"},
            ModelNotFoundError,
        ),
        (
            400,
            openai_error("foo/bar is not a valid model ID", 400),
            ModelNotFoundError,
        ),
        (400, openai_error("Model Not Exist"), ModelNotFoundError),
        (
            400,
            openai_error(
                "The supported API model names are a-1 or a-2, but you passed b-9."
            ),
            ModelNotFoundError,
        ),
        (
            400,
            {"object": "error", "message": "Invalid model: x", "type": "invalid_model"},
            ModelNotFoundError,
        ),
        # A 404 of a model, and one of a wrong address.
        (404, {"error": "model 'llama9' not found"}, ModelNotFoundError),
        (404, openai_error("No endpoints found for x/y.", 404), ModelNotFoundError),
        (404, {"detail": "Not Found"}, ProviderResponseError),
        (404, "404 page not found", ProviderResponseError),
        (404, "<html><title>404 Not Found</title></html>", ProviderResponseError),
        (
            404,
            openai_error("Unknown request URL: POST /v2/chat.", "unknown_url"),
            ProviderResponseError,
        ),
        (404, openai_error("Resource not found", "404"), ProviderResponseError),
        (
            400,
            {"message": "The provided model identifier is invalid."},
            ModelNotFoundError,
        ),
        # A prompt that is too long.
        (400, openai_error("x", "context_length_exceeded"), ContextLengthError),
        (
            400,
            anthropic_error(
                "invalid_request_error",
                "prompt is too long: 210000 tokens > 200000 maximum",
            ),
            ContextLengthError,
        ),
        (
            400,
            anthropic_error(
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 190 + 20 > 200",
            ),
            ContextLengthError,
        ),
        (
            413,
            anthropic_error("request_too_large", "Request exceeds the maximum size"),
            ContextLengthError,
        ),
        (
            400,
            google_error(
                400,
                "The input token count (1300000) exceeds the maximum number of tokens"
                " allowed (1048576).",
                "INVALID_ARGUMENT",
            ),
            ContextLengthError,
        ),
        (
            400,
            openai_error(
                "This model's maximum context length is 4096 tokens. However, you "
                "requested 5000 tokens."
            ),
            ContextLengthError,
        ),
        (
            400,
            openai_error(
                "This model's maximum prompt length is 131072 but the request "
                "contains 537812 tokens."
            ),
            ContextLengthError,
        ),
        (
            400,
            {"error": {"message": "x", "type": "too_many_prompt_tokens", "code": 400}},
            ContextLengthError,
        ),
        (
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` "
                "must be <= 4096. Given: 5000 `inputs` tokens",
                "error_type": "validation",
            },
            ContextLengthError,
        ),
        (
            400,
            {"error": "Input validation error: must have less than 4096 tokens"},
            ContextLengthError,
        ),
        (400, openai_error("Prompt exceeds max length", "1261"), ContextLengthError),
        (
            400,
            openai_error("Range of input length should be [1, 129024]"),
            ContextLengthError,
        ),
        (
            400,
            google_error(
                400,
                "Request payload size exceeds the limit: 20971520 bytes.",
                "INVALID_ARGUMENT",
            ),
            ContextLengthError,
        ),
        # A content filter.
        (
            400,
            openai_error("x", "content_filter")
            | {"innererror": {"code": "ResponsibleAIPolicyViolation"}},
            ContentFilterError,
        ),
        (400, openai_error("Content Exists Risk"), ContentFilterError),
        (
            400,
            anthropic_error(
                "invalid_request_error", "Output blocked by content filtering policy"
            ),
            ContentFilterError,
        ),
        (
            403,
            {
                "error": {
                    "code": 403,
                    "message": "Your chosen model requires moderation and your input "
                    "was flagged for violence",
                }
            },
            ContentFilterError,
        ),
        (
            400,
            openai_error("System detected potentially unsafe or sensitive content"),
            ContentFilterError,
        ),
        # Money.
        (
            400,
            anthropic_error(
                "invalid_request_error", "Your credit balance is too low to access x."
            ),
            ProviderRateLimitError,
        ),
        # The code is right where the status is only near.
        (429, openai_error("x", "insufficient_quota"), ProviderRateLimitError),
        (413, openai_error("x", "rate_limit_exceeded"), ProviderRateLimitError),
        (400, openai_error("x", "model_decommissioned"), ModelNotFoundError),
        (404, openai_error("x", "previous_response_not_found"), ProviderResponseError),
        (400, openai_error("x", "data_inspection_failed"), ContentFilterError),
        (
            400,
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "x",
                    "details": {"error_code": "organization_on_hold"},
                },
            },
            ProviderAuthenticationError,
        ),
        (500, google_error(500, "x", "DEADLINE_EXCEEDED"), ProviderTimeoutError),
        # Error events of a 200 stream have no status.
        (None, anthropic_error("overloaded_error", "x"), ProviderOverloadedError),
        (None, google_error(503, "x", "UNAVAILABLE"), ProviderOverloadedError),
        (None, {"error": {"code": 429, "message": "x"}}, ProviderRateLimitError),
        (None, {"error": {"code": 502, "message": "x"}}, ProviderResponseError),
        (None, {"error": "something broke"}, ProviderResponseError),
        (None, openai_error("x", "too_many_requests"), ProviderRateLimitError),
        (None, openai_error("x", "bio_policy"), ContentFilterError),
        (None, openai_error("x", "misalignment_policy_violation"), ContentFilterError),
        (None, openai_error("x", "image_content_policy_violation"), ContentFilterError),
        # Words that only look as if.
        (
            400,
            anthropic_error("invalid_request_error", "Too many strict tools (21)."),
            ProviderResponseError,
        ),
        (
            400,
            openai_error("Unsupported value: 'temperature' with this model."),
            ProviderResponseError,
        ),
        (
            400,
            openai_error("Invalid schema for function 'f': In context=(), not ok."),
            ProviderResponseError,
        ),
        (
            400,
            openai_error("max_tokens is too large: 9. This model supports at most 8."),
            ProviderResponseError,
        ),
        (
            None,
            openai_error("The model produced invalid content."),
            ProviderResponseError,
        ),
    ],
)
def test_an_error_gets_the_class_of_its_meaning(status, body, error_class):
    error = parse_error(body, status=status)
    assert type(error) is error_class
    assert error.status_code == status


@pytest.mark.parametrize(
    ("raw", "error_class"),
    [
        ('{"error": {"message": "maximum context length is 4 K"}}', ContextLengthError),
        ("Your prompt was flagged", ContentFilterError),
        ('{"error": {"code": "context_length_exceeded"}}', ContextLengthError),
        ("out of luck", ProviderResponseError),
    ],
)
def test_what_a_gateway_was_told_counts_as_well(raw, error_class):
    assert type(parse_error(openrouter_error(raw), status=400)) is error_class


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (openai_error("what"), "what"),
        (anthropic_error("api_error", "what"), "what"),
        (google_error(500, "what", "INTERNAL"), "what"),
        ([google_error(500, "what", "INTERNAL")], "what"),
        ({"error": "what"}, "what"),
        ({"error": {"code": 500, "error": {"message": "what"}}}, "what"),
        ({"error": [{"message": "what"}, {"message": "no"}]}, "what"),
        ({"errors": [{"message": "what"}]}, "what"),
        ({"code": "Some words", "error": "what"}, "what"),
        ({"message": "what", "type": "x", "code": 1}, "what"),
        ({"detail": "what"}, "what"),
        ({"detail": {"message": "what"}}, "what"),
        ({"detail": [{"msg": "what", "loc": ["body", "n"]}]}, "body.n: what"),
        ({"message": {"detail": [{"msg": "what", "loc": []}]}}, "what"),
        ({"error": {"message": None, "details": "what"}}, "what"),
        ({"error": {"message": " what\n"}}, "what"),
        ("  what ", "what"),
        ('{"error": {"message": "what"}}', "what"),
        ("<html><head><title> 502 what </title></head></html>", "<502 what>"),
        ("<p>what</p>", "<p>what</p>"),
        ({"Message": "what"}, "what"),
        (openrouter_error("why"), "Provider returned error: why"),
        (openrouter_error(" why\n"), "Provider returned error: why"),
        (
            openrouter_error('{"error": {"message": "why"}}'),
            "Provider returned error: why",
        ),
        (openrouter_error({"detail": "why"}), "Provider returned error: why"),
        (openrouter_error(""), "Provider returned error"),
        (openrouter_error(None), "Provider returned error"),
    ],
)
def test_the_providers_own_message_is_found(body, message):
    assert parse_error(body, status=500).message == message


@pytest.mark.parametrize("body", [None, "", [], {}, 0, {"error": {}}, {"error": None}])
def test_an_error_without_words_still_says_what_is_known(body):
    assert "HTTP 500" in parse_error(body, status=500).message
    assert parse_error(body).message


def test_an_error_of_unknown_form_is_quoted():
    # Portkey's, with another server's error in it.
    error = parse_error({"html-message": '{"error": "Bad key"}'}, status=401)
    assert isinstance(error, ProviderAuthenticationError)
    assert "HTTP 401" in error.message
    assert "Bad key" in error.message


def test_an_endless_message_is_cut():
    assert len(parse_error({"error": "x" * 10_000}).message) < 3000


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (openai_error("x", "model_not_found"), "model_not_found"),
        (openai_error("x"), "invalid_request_error"),
        (anthropic_error("overloaded_error", "x"), "overloaded_error"),
        (
            {
                "error": {
                    "type": "rate_limit_error",
                    "details": {"error_code": "ramp_limit_exceeded"},
                }
            },
            "ramp_limit_exceeded",
        ),
        (google_error(400, "x", "INVALID_ARGUMENT"), "INVALID_ARGUMENT"),
        ({"error": {"code": 429, "message": "x"}}, "429"),
        ({"error": "x"}, None),
    ],
)
def test_the_code_is_the_most_telling_word(body, code):
    assert parse_error(body).code == code


@pytest.mark.parametrize(
    ("headers", "body", "request_id"),
    [
        ({"X-Request-ID": "req_1", "CF-Ray": "ray"}, {}, "req_1"),
        ({"request-id": "req_2"}, {"request_id": "req_9"}, "req_2"),
        ({"apim-request-id": "req_3"}, {}, "req_3"),
        ({"cf-ray": "ray"}, {}, "ray"),
        ({}, anthropic_error("api_error", "x") | {"request_id": "req_4"}, "req_4"),
        ({}, {}, None),
    ],
)
def test_the_request_id_is_found(headers, body, request_id):
    assert parse_error(body, status=500, headers=headers).request_id == request_id


NOON = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1),
        ({"retry-after-ms": "0"}, 0),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 -0000"}, 30),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers, seconds):
    assert parse_retry_after(headers, NOON) == seconds


def test_googles_retry_info_counts_where_there_is_no_header():
    body = google_error(
        429,
        "x",
        "RESOURCE_EXHAUSTED",
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"},
    )
    assert parse_error(body, status=429).retry_after == 37.5
    assert parse_error(body, status=429, headers={"Retry-After": "2"}).retry_after == 2


def test_openrouter_says_how_long_to_wait_in_the_body():
    body = openrouter_error("slow down")
    body["error"]["metadata"]["retry_after_seconds"] = 29
    assert parse_error(body, status=429).retry_after == 29


GEMINI_QUOTA = {
    "error": {
        "code": 429,
        "message": (
            "You exceeded your current quota, please check your plan and billing "
            "details.\n* Quota exceeded for metric: generativelanguage.googleapis.com/"
            "generate_content_free_tier_requests, limit: 10\nPlease retry in 99s."
        ),
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [
                    {
                        "quotaMetric": "generativelanguage.googleapis.com/"
                        "generate_content_free_tier_requests",
                        "quotaId": "GenerateRequestsPerMinutePerProjectPerModel",
                        "quotaDimensions": {"model": "gemini-2.5-flash"},
                        "quotaValue": "10",
                    }
                ],
            },
            {
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{"description": "Limits", "url": "https://ai.google.dev"}],
            },
            {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": "34.074824224s",
            },
        ],
    }
}


@pytest.mark.parametrize("body", [GEMINI_QUOTA, [GEMINI_QUOTA]])
def test_geminis_spent_minute_says_how_long_to_wait(body):
    error = parse_error(body, status=429, headers={"content-type": "application/json"})
    assert type(error) is ProviderRateLimitError
    assert error.retry_after == pytest.approx(34.07, abs=0.01)
    assert error.code == "RESOURCE_EXHAUSTED"


def test_a_wait_told_in_words_is_not_relied_on():
    body = openai_error(
        "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used "
        "29000, Requested 2000. Please try again in 20s.",
        "rate_limit_exceeded",
    )
    assert parse_error(body, status=429).retry_after is None


@pytest.mark.parametrize(
    ("headers", "body", "should_retry"),
    [
        ({"x-should-retry": "true"}, openai_error("x"), True),
        ({"X-Should-Retry": "False"}, openai_error("x"), False),
        ({"x-should-retry": "maybe"}, openai_error("x"), None),
        ({}, openai_error("x", "rate_limit_exceeded"), None),
        ({}, openai_error("x", "insufficient_quota"), False),
        ({}, openai_error("Insufficient Balance"), False),
        ({}, openai_error("x", "exceeded_current_quota_error"), False),
        ({}, {"error": "Your team has used all available credits."}, False),
        (
            {},
            {"error": {"details": {"error_code": "contract_spend_limit_reached"}}},
            False,
        ),
        ({"x-should-retry": "true"}, openai_error("x", "insufficient_quota"), True),
    ],
)
def test_a_spent_quota_is_not_worth_a_retry(headers, body, should_retry):
    error = parse_error(body, status=429, headers=headers)
    assert error.should_retry is should_retry


def test_without_credit_a_call_is_repeated_only_if_the_provider_says_when():
    body = openai_error("This request requires more credits", 402)
    assert parse_error(body, status=402).should_retry is False
    waiting = parse_error(body, status=402, headers={"Retry-After": "3"})
    assert (waiting.should_retry, waiting.retry_after) == (None, 3)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "code", "type", "detail", "errors", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON_VALUES, st.sampled_from([None, 400, 404, 429, 500]))
def test_any_body_gives_an_error_with_a_message(body, status):
    error = parse_error(body, status=status)
    assert isinstance(error, ProviderError)
    assert error.message
    assert str(error)


MEANING = {
    "AuthenticationError": ProviderAuthenticationError,
    "NotFoundError": ModelNotFoundError,
    "RateLimitError": ProviderRateLimitError,
}
"""The vendors' classes follow the status; where they mean something, ours agree."""


@pytest.mark.skipif(not WIRE.is_dir(), reason="the recordings are not here")
@pytest.mark.parametrize("path", sorted(WIRE.glob("*.jsonl")), ids=lambda p: p.stem)
def test_recorded_errors_keep_their_message_and_meaning(path):
    with path.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines if '"outcome": "error"' in line]
    for record in records:
        response, expected = record["response"], record["expected"]["error"]
        if response["status"] == 200:
            continue
        error = parse_error(
            json.loads(response["body_text"]),
            status=response["status"],
            headers=response["headers"],
        )
        assert error.message == expected["message"], record["id"]
        if expected["sdk_class"] in MEANING:
            assert type(error) is MEANING[expected["sdk_class"]], record["id"]
