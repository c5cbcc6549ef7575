"""A question to the endpoint that costs nothing: which models do you have?"""

from persona_assets.errors import EndpointError
from persona_assets.llm.endpoint import endpoint_of
from persona_assets.settings import LlmSettings

PROBE_TIMEOUT_S = 10.0


def model_listed(settings: LlmSettings) -> str:
    """Say whether the endpoint answers and lists the model of the profile.

    Raises:
        EndpointError: it cannot be reached, refuses the key, or lists other models only.
    """
    import openai

    endpoint = endpoint_of(settings)
    client = openai.OpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=0, timeout=PROBE_TIMEOUT_S)
    try:
        known = [model.id for model in client.models.list()]
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        raise EndpointError(f"{endpoint.host} refuses the key: check {endpoint.key_variable}") from None
    except openai.APIConnectionError:
        raise EndpointError(
            f"{endpoint.host} cannot be reached: check that it runs, OPENAI_BASE_URL and llm.base_url"
        ) from None
    except openai.APIError as error:
        return f"{endpoint.host} answers, but lists no models ({endpoint.redact(str(error))[:100]})"
    finally:
        client.close()
    if settings.model not in known:
        some = ", ".join(sorted(known)[:8])
        raise EndpointError(f"{endpoint.host} lists no model {settings.model!r} but {some}: check --model or llm.model")
    return f"{endpoint.host} lists {settings.model}"
