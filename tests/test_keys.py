"""Which key goes to which host."""

from __future__ import annotations

import pickle

import pytest

from llmring_lite import keys
from llmring_lite.exceptions import ProviderAuthenticationError
from llmring_lite.provider import BUILTIN, Endpoint

SECRET = "sk-do-not-show-me"


def custom(base_url: str, variable: str = "OPENAI_API_KEY") -> Endpoint:
    """What a lockfile's [providers.pool] becomes."""
    return Endpoint(
        name="pool", kind="openai", base_url=base_url, api_key_env=(variable,)
    )


def test_a_builtin_provider_gets_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    secret = keys.lookup(BUILTIN["openai"])
    assert secret is not None
    assert secret.reveal() == SECRET


def test_the_first_variable_that_is_set_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GEMINI_API_KEY", "third")
    monkeypatch.setenv("GEMINI_API_KEY", " ")
    secret = keys.lookup(BUILTIN["google"])
    assert secret is not None
    assert secret.reveal() == "third"


def test_a_missing_key_names_every_variable() -> None:
    with pytest.raises(ProviderAuthenticationError) as caught:
        keys.lookup(BUILTIN["google"])
    for name in BUILTIN["google"].api_key_env:
        assert name in str(caught.value)


def test_ollama_and_mock_need_no_key() -> None:
    assert keys.lookup(BUILTIN["ollama"]) is None
    assert keys.lookup(BUILTIN["mock"]) is None


ALLOWED = [
    "https://api.openai.com/v1",
    "https://API.OpenAI.com/v1",
    "HTTPS://api.openai.com:443/other",
    "http://127.0.0.1:8080/v1",
    "http://localhost:8080",
    "http://[::1]:8080/v1",
    "https://127.1.2.3",
]

REFUSED = [
    "https://evil.example/v1",
    "http://api.openai.com/v1",
    "https://api.openai.com.evil.example/v1",
    "https://api-openai.com/v1",
    "https://api.openai.com./v1",
    "https://api.openai.com@evil.example/v1",
    "https://user:pass@api.openai.com/v1",
    "https://evil.example\\@api.openai.com/v1",
    "https://evil.example/\\@api.openai.com/v1",
    "https://api.openai.com\\.evil.example/v1",
    "https://api.openai.com%2eevil.example/v1",
    "https://evil.example#@api.openai.com/v1",
    "https://evil.example?@api.openai.com/v1",
    "https://аpi.openai.com/v1",  # a Cyrillic a
    "https://api。openai.com/v1",
    "https:///api.openai.com/v1",
    "https:api.openai.com/v1",
    "https://api.openai.com:99999999/v1",
    "https://api.openai.com\n.evil.example/v1",
    "https://api.openai.com\t/v1",
    " https://api.openai.com/v1",
    "//api.openai.com/v1",
    "ftp://api.openai.com/v1",
    "file:///etc/passwd",
    "https://localhost.evil.example/v1",
    "https://127.0.0.1.evil.example/v1",
    "http://127.1:8080/v1",
    "http://2130706433/v1",
    "http://0x7f.0.0.1/v1",
    "http://[::ffff:127.0.0.1]/v1",
    "http://127.0.0.256:8080/v1",
    "http://127.0.0.08:8080/v1",
    "https://api..openai.com/v1",
    "",
]


@pytest.mark.parametrize("url", ALLOWED)
def test_a_key_may_go_to_its_own_host_and_to_loopback(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert keys.lookup(custom(url)) is not None


@pytest.mark.parametrize("url", REFUSED)
def test_a_key_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(ProviderAuthenticationError) as caught:
        keys.lookup(custom(url))
    assert "OPENAI_API_KEY" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "user:pass" not in str(caught.value)


@pytest.mark.parametrize("variable", ["GITHUB_TOKEN", "ANTHROPIC_API_KEY", "PATH"])
def test_any_other_variable_is_bound_by_the_same_rule(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, SECRET)
    with pytest.raises(ProviderAuthenticationError) as caught:
        keys.lookup(custom("https://api.openai.com/v1", variable))
    assert variable in str(caught.value)
    assert "api.openai.com" in str(caught.value)


def test_the_refusal_says_how_to_allow_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POOL_KEY", SECRET)
    pool = custom("https://llm.corp.example:8443/v1", "POOL_KEY")
    with pytest.raises(ProviderAuthenticationError) as caught:
        keys.lookup(pool)
    name, _, value = str(caught.value).split("set ")[-1].partition("=")
    monkeypatch.setenv(name, value)
    assert keys.lookup(pool) is not None


@pytest.mark.parametrize(
    ("trusted", "allowed"),
    [
        ("llm.corp.example", True),
        ("LLM.Corp.Example", True),
        ("other.example, llm.corp.example", True),
        ("*.corp.example", True),
        ("*.example", True),
        ("corp.example", False),
        ("*.llm.corp.example", False),
        ("*", False),
        ("*.", False),
        ("", False),
        ("m.corp.example", False),
    ],
)
def test_trusted_hosts(
    monkeypatch: pytest.MonkeyPatch, trusted: str, allowed: bool
) -> None:
    monkeypatch.setenv("POOL_KEY", SECRET)
    monkeypatch.setenv("LLMRING_TRUSTED_HOSTS", trusted)
    pool = custom("https://llm.corp.example/v1", "POOL_KEY")
    if allowed:
        assert keys.lookup(pool) is not None
    else:
        with pytest.raises(ProviderAuthenticationError):
            keys.lookup(pool)


def test_trust_does_not_lift_https(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_KEY", SECRET)
    monkeypatch.setenv("LLMRING_TRUSTED_HOSTS", "llm.corp.example")
    with pytest.raises(ProviderAuthenticationError, match="https"):
        keys.lookup(custom("http://llm.corp.example/v1", "POOL_KEY"))


def test_a_base_url_of_the_environment_vouches_for_its_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://proxy.corp.example/v1/")
    row = BUILTIN["openai"]
    used = row._replace(base_url=keys.base_url(row))
    assert used.base_url == "https://proxy.corp.example/v1"
    assert keys.lookup(used) is not None
    # ... but not for the keys of other providers.
    monkeypatch.setenv("GROQ_API_KEY", SECRET)
    with pytest.raises(ProviderAuthenticationError):
        keys.lookup(custom("https://proxy.corp.example/v1", "GROQ_API_KEY"))


@pytest.mark.parametrize("raw", [f"{SECRET}\n", f"  {SECRET}", f"{SECRET}\r\n"])
def test_white_space_around_a_key_is_stripped(
    monkeypatch: pytest.MonkeyPatch, raw: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", raw)
    secret = keys.lookup(BUILTIN["openai"])
    assert secret is not None
    assert secret.reveal() == SECRET


@pytest.mark.parametrize("raw", [f"{SECRET}\nX-Evil: 1", f"{SECRET}é", f"\x1b{SECRET}"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, raw: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", raw)
    with pytest.raises(ProviderAuthenticationError) as caught:
        keys.lookup(BUILTIN["openai"])
    assert "OPENAI_API_KEY" in str(caught.value)
    assert SECRET not in repr(caught.value)


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = keys.Secret(SECRET, "OPENAI_API_KEY")
    shown = f"{secret} {secret!r} {[secret]} {vars(type(secret)).keys()}"
    assert SECRET not in shown
    assert secret.redact(f"Incorrect key {SECRET}!") == "Incorrect key [redacted]!"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


# Examples of https://github.com/ollama/ollama-python (ollama/_client.py, _parse_host)
# in the meaning it documents: scheme http, host 127.0.0.1, port 11434 by default.
@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":56789", "http://127.0.0.1:56789"),
        ("1.2.3.4:56789", "http://1.2.3.4:56789"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("https://1.2.3.4", "https://1.2.3.4:443"),
        ("https://1.2.3.4:56789", "https://1.2.3.4:56789"),
        ("example.com", "http://example.com:11434"),
        ("example.com:56789/", "http://example.com:56789"),
        ("https://example.com:56789/path", "https://example.com:56789/path"),
        ("example.com/path/", "http://example.com:11434/path"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:56789", "http://[::1]:56789"),
        ("http://[::1]:56789", "http://[::1]:56789"),
    ],
)
def test_ollama_host_means_what_ollama_makes_of_it(value: str, url: str) -> None:
    assert keys.parse_ollama_host(value) == url


def test_read_env_agrees_with_os_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keys.read_env("LLMRING_TEST_VALUE") is None
    monkeypatch.setenv("LLMRING_TEST_VALUE", "wért\udcff")
    assert keys.read_env("LLMRING_TEST_VALUE") == "wért\udcff"
    monkeypatch.setattr("os.environ", {"LLMRING_TEST_VALUE": "plain dict"})
    assert keys.read_env("LLMRING_TEST_VALUE") == "plain dict"
