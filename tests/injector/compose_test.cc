#include "injector/compose.h"

#include <gmock/gmock.h>

#include "injector/yaml.h"

namespace injector {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Files, variables and images as a test says.
class ComposeTest : public testing::Test {
 protected:
  ComposeTest() {
    world_.read_file = [this](const std::filesystem::path& path) {
      return Get(files_, path.string());
    };
    world_.variable = [this](const std::string& name) {
      return Get(variables_, name);
    };
    world_.image_environment =
        [this](const std::string& image) -> std::optional<Environment> {
      auto found = images_.find(image);
      if (found == images_.end()) return std::nullopt;
      return found->second;
    };
    changes_.hook = "/usr/lib/cyclescope";
  }

  static std::optional<std::string> Get(const Environment& map,
                                        const std::string& key) {
    auto found = map.find(key);
    if (found == map.end()) return std::nullopt;
    return found->second;
  }

  /// The override for all services.
  Yaml Override(const std::vector<std::filesystem::path>& files) {
    project_ = ReadCompose(files, world_);
    std::vector<std::string> names;
    for (const ComposeService& service : project_.services) {
      names.push_back(service.name);
    }
    text_ = ComposeOverride(project_, names, changes_, world_);
    return ReadYaml(text_, "override").at(0);
  }

  /// PYTHONPATH that service `app` of /p/a.yml gets.
  std::string PythonPath(const std::string& text) {
    files_["/p/a.yml"] = text;
    return Override(
        {"/p/a.yml"})["services"]["app"]["environment"]["PYTHONPATH"];
  }

  std::string Refusal(const std::string& text) {
    try {
      PythonPath(text);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  Environment files_;
  Environment variables_;
  std::map<std::string, Environment> images_ = {{"i", {}}};
  ManifestWorld world_;
  ComposeChanges changes_;
  ComposeProject project_;
  std::string text_;
};

TEST_F(ComposeTest, AddsNothingButMountsAndVariables) {
  files_["/p/a.yml"] = "services:\n  app:\n    image: i\n    command: x\n";
  Override({"/p/a.yml"});
  EXPECT_EQ(text_,
            "services:\n"
            "  app:\n"
            "    environment:\n"
            "      CYCLESCOPE_DIR: /run/cyclescope\n"
            "      PYTHONPATH: /opt/cyclescope\n"
            "    volumes:\n"
            "      - /usr/lib/cyclescope:/opt/cyclescope:ro,z\n"
            "      - type: tmpfs\n"
            "        target: /run/cyclescope\n"
            "        tmpfs:\n"
            "          size: 16777216\n");
  EXPECT_THAT(project_.warnings, IsEmpty());
}

TEST_F(ComposeTest, KeepsPythonPathOfAMapAndOfAList) {
  EXPECT_EQ(PythonPath("services: {app: {image: i, environment: {PYTHONPATH: "
                       "/a}}}"),
            "/opt/cyclescope:/a");
  EXPECT_EQ(PythonPath("services: {app: {image: i, environment: "
                       "['X=1', 'PYTHONPATH=/a:/b']}}"),
            "/opt/cyclescope:/a:/b");
}

TEST_F(ComposeTest, KeepsPythonPathOfAMergeKey) {
  EXPECT_EQ(PythonPath("x-common: &c\n  environment: &e\n    PYTHONPATH: /a\n"
                       "services:\n  app:\n    <<: *c\n    image: i\n"
                       "    environment:\n      <<: *e\n      B: 1\n"),
            "/opt/cyclescope:/a");
}

TEST_F(ComposeTest, KeepsInterpolationAsText) {
  EXPECT_EQ(PythonPath("services: {app: {image: i, environment: ['PYTHONPATH="
                       "/a:${MORE:-/x}:$$HOME']}}"),
            "/opt/cyclescope:/a:${MORE:-/x}:$$HOME");
}

TEST_F(ComposeTest, AVariableThatMayBeEmptyDoesNotAddTheWorkingDirectory) {
  for (const char* text : {"$MORE", "${MORE}", "${MORE:-}", "${MORE-}"}) {
    EXPECT_EQ(PythonPath("services: {app: {image: i, environment: "
                         "['PYTHONPATH=" +
                         std::string(text) + "']}}"),
              "/opt/cyclescope:${MORE:-/opt/cyclescope}");
  }
}

TEST_F(ComposeTest, KeepsPythonPathThatIsPassedOn) {
  images_["i"] = {{"PYTHONPATH", "/image"}};
  EXPECT_EQ(PythonPath("services: {app: {image: i, environment: "
                       "[PYTHONPATH]}}"),
            "/opt/cyclescope:${PYTHONPATH:-/opt/cyclescope}");
  EXPECT_EQ(project_.warnings.size(), 1u);
}

TEST_F(ComposeTest, TheImageCountsWhereNoFileSaysOtherwise) {
  images_["registry/i:2"] = {{"PYTHONPATH", "/image/$x"}};
  variables_["TAG"] = "2";
  EXPECT_EQ(PythonPath("services: {app: {image: '${R:-registry}/i:$TAG'}}"),
            "/opt/cyclescope:/image/$$x");
  EXPECT_EQ(PythonPath("services: {app: {image: 'registry/i:2', environment: "
                       "{PYTHONPATH: ''}}}"),
            "/opt/cyclescope");
}

TEST_F(ComposeTest, AnUnknownImageIsSaid) {
  EXPECT_EQ(PythonPath("services: {app: {image: other}}"), "/opt/cyclescope");
  ASSERT_EQ(project_.warnings.size(), 1u);
  EXPECT_THAT(project_.warnings[0], HasSubstr("--pythonpath"));
  changes_.python_path = "/said";
  EXPECT_EQ(PythonPath("services: {app: {image: other}}"),
            "/opt/cyclescope:/said");
  EXPECT_THAT(project_.warnings, IsEmpty());
}

TEST_F(ComposeTest, ABuiltImageIsKnownByTheProjectsName) {
  images_["my-project_app"] = {{"PYTHONPATH", "/built"}};
  files_["/srv/My-Project/a.yml"] = "services: {app: {build: .}}";
  EXPECT_EQ(Override({"/srv/My-Project/a.yml"})["services"]["app"]
                                               ["environment"]["PYTHONPATH"],
            "/opt/cyclescope:/built");
}

TEST_F(ComposeTest, EnvironmentFilesCountInTheirOrder) {
  files_["/p/one.env"] = "# a comment\r\nPYTHONPATH=/one\r\n";
  files_["/p/two.env"] = "export PYTHONPATH=\"/two words\" # why\n";
  EXPECT_EQ(PythonPath("services: {app: {image: i, env_file: one.env}}"),
            "/opt/cyclescope:/one");
  EXPECT_EQ(PythonPath("services: {app: {image: i, env_file: [one.env, {path: "
                       "two.env}]}}"),
            "/opt/cyclescope:/two words");
  EXPECT_EQ(PythonPath("services: {app: {image: i, env_file: one.env, "
                       "environment: {PYTHONPATH: /own}}}"),
            "/opt/cyclescope:/own");
  PythonPath("services: {app: {image: i, env_file: gone.env}}");
  EXPECT_EQ(project_.warnings.size(), 1u);
  PythonPath(
      "services: {app: {image: i, env_file: [{path: gone.env, required: "
      "false}]}}");
  EXPECT_THAT(project_.warnings, IsEmpty());
}

TEST_F(ComposeTest, LaterFilesCount) {
  files_["/p/a.yml"] =
      "services: {app: {image: old, environment: {PYTHONPATH: /a, "
      "CYCLESCOPE_DIR: /own}, volumes: ['/x:/y']}}";
  files_["/q/b.yml"] =
      "services: {app: {image: i, environment: ['PYTHONPATH=/b']}, new: "
      "{image: i}}";
  Yaml services = Override({"/p/a.yml", "/q/b.yml"})["services"];
  EXPECT_EQ(services["app"]["environment"],
            (Yaml{{"PYTHONPATH", "/opt/cyclescope:/b"}}));
  EXPECT_EQ(services["app"]["volumes"],
            Yaml({"/usr/lib/cyclescope:/opt/cyclescope:ro,z"}));
  EXPECT_TRUE(services.contains("new"));
}

TEST_F(ComposeTest, ResetAndOverrideOfALaterFileCount) {
  files_["/p/a.yml"] =
      "services: {app: {image: i, environment: {PYTHONPATH: /a}}}";
  files_["/p/b.yml"] = "services: {app: {environment: !reset null}}";
  EXPECT_EQ(
      Override({"/p/a.yml",
                "/p/b.yml"})["services"]["app"]["environment"]["PYTHONPATH"],
      "/opt/cyclescope");
  files_["/p/b.yml"] =
      "services: {app: {environment: !override ['PYTHONPATH=/b']}}";
  EXPECT_EQ(
      Override({"/p/a.yml",
                "/p/b.yml"})["services"]["app"]["environment"]["PYTHONPATH"],
      "/opt/cyclescope:/b");
}

TEST_F(ComposeTest, ExtendedServicesGiveTheirEnvironment) {
  files_["/p/lib/base.yml"] =
      "services: {base: {extends: root, env_file: base.env}, root: {image: i, "
      "environment: {CYCLESCOPE_DIR: /root}}}";
  files_["/p/lib/base.env"] = "PYTHONPATH=/from/base\n";
  std::string app =
      "services: {app: {extends: {file: lib/base.yml, service: base}}}";
  EXPECT_EQ(PythonPath(app), "/opt/cyclescope:/from/base");
  EXPECT_EQ(project_.services[0].environment["CYCLESCOPE_DIR"], "/root");
  EXPECT_THAT(Refusal("services: {app: {image: i, extends: b}, b: {extends: "
                      "app}}"),
              HasSubstr("extends itself"));
  EXPECT_THAT(Refusal("services: {app: {image: i, extends: gone}}"),
              HasSubstr("gone"));
}

TEST_F(ComposeTest, SaysWhereTheComposesExtendInAnotherOrder) {
  files_["/p/a.yml"] = "services: {app: {extends: b}, b: {image: i}}";
  files_["/p/b.yml"] = "services: {b: {environment: {PYTHONPATH: /b}}}";
  Yaml services = Override({"/p/a.yml", "/p/b.yml"})["services"];
  EXPECT_EQ(services["app"]["environment"]["PYTHONPATH"], "/opt/cyclescope");
  ASSERT_EQ(project_.warnings.size(), 1u);
  EXPECT_THAT(project_.warnings[0], HasSubstr("podman-compose"));
}

TEST_F(ComposeTest, ItsOwnOutputAmongTheFilesChangesNothing) {
  files_["/p/a.yml"] =
      "services: {app: {image: i, environment: {PYTHONPATH: /a}}}";
  Override({"/p/a.yml"});
  files_["/p/o.yml"] = text_;
  EXPECT_EQ(Override({"/p/a.yml", "/p/o.yml"})["services"], Yaml::object());
}

TEST_F(ComposeTest, HandsVariablesOnThatTheServiceDoesNotSet) {
  changes_.variables = {{"CYCLESCOPE_WATCH", "a.B"},
                        {"CYCLESCOPE_EVERY", "60s"}};
  files_["/p/a.yml"] =
      "services: {app: {image: i, environment: {CYCLESCOPE_EVERY: 5s}}}";
  Yaml environment = Override({"/p/a.yml"})["services"]["app"]["environment"];
  EXPECT_EQ(environment["CYCLESCOPE_WATCH"], "a.B");
  EXPECT_FALSE(environment.contains("CYCLESCOPE_EVERY"));
}

TEST_F(ComposeTest, MountsWhatIsAskedFor) {
  changes_.mounts["app"] = {{"/src/$x", "/app/x"}};
  files_["/p/a.yml"] = "services: {app: {image: i}, b: {image: i}}";
  Yaml services = Override({"/p/a.yml"})["services"];
  EXPECT_EQ(services["app"]["volumes"][1], "/src/$$x:/app/x:ro,z");
  EXPECT_EQ(services["b"]["volumes"].size(), 2u);
  changes_.mounts["app"] = {{"/a:b", "/x"}};
  EXPECT_THAT(Refusal(files_["/p/a.yml"]), HasSubstr("colon"));
}

TEST_F(ComposeTest, RefusesPlacesThatAreTaken) {
  EXPECT_THAT(Refusal("services: {app: {image: i, volumes: "
                      "['./x:/opt/cyclescope']}}"),
              HasSubstr("something else mounted"));
  EXPECT_THAT(Refusal("services: {app: {image: i, volumes: [{type: bind, "
                      "source: ./x, target: /run/cyclescope}]}}"),
              HasSubstr("something else mounted"));
}

TEST_F(ComposeTest, SaysWherePythonIgnoresTheEnvironment) {
  PythonPath("services: {app: {image: i, command: python3 -I -m app}}");
  EXPECT_EQ(project_.warnings.size(), 1u);
  PythonPath(
      "services: {app: {image: i, entrypoint: [/usr/bin/python3.11, "
      "-uE, x.py]}}");
  EXPECT_EQ(project_.warnings.size(), 1u);
  PythonPath("services: {app: {image: i, command: python3 -X dev -m app -I}}");
  EXPECT_THAT(project_.warnings, IsEmpty());
}

TEST_F(ComposeTest, LeavesOutWhatHasNoImage) {
  files_["/p/a.yml"] = "services: {app: {image: i}, no: {command: x}}";
  EXPECT_THAT(Override({"/p/a.yml"})["services"].size(), 1u);
}

TEST_F(ComposeTest, RefusesWhatIsNoComposeFile) {
  EXPECT_THAT(Refusal("- a\n- b\n"), HasSubstr("/p/a.yml"));
  EXPECT_THAT(Refusal(""), HasSubstr("/p/a.yml"));
  EXPECT_THAT(Refusal("services: {}"), HasSubstr("no service"));
  EXPECT_THAT(Refusal("services: [a]"), HasSubstr("/p/a.yml"));
  EXPECT_THROW(Override({"/gone.yml"}), Error);
}

TEST_F(ComposeTest, OddShapesAreNoCrash) {
  for (const char* service :
       {"{image: i, environment: 3}", "{image: [i]}", "{image: i, volumes: 3}",
        "{image: i, env_file: {}}", "{image: i, extends: []}",
        "{image: i, command: {a: b}}", "{image: i, volumes: [{target: [1]}]}",
        "{image: i, environment: [[1], {a: b}]}", "{image: '${'}",
        "{image: '$'}", "[i]", "i", "{build: {}}"}) {
    SCOPED_TRACE(service);
    try {
      PythonPath("services: {b: {image: i}, app: " + std::string(service) +
                 "}");
    } catch (const Error&) {  // A sentence is as good.
    } catch (const Yaml::exception& error) {
      // From the test's own look at a service that got nothing.
      EXPECT_THAT(error.what(), HasSubstr("type must be string"));
    }
  }
}

TEST(WithHook, KeepsWhatIsThere) {
  EXPECT_EQ(WithHook(""), "/opt/cyclescope");
  EXPECT_EQ(WithHook(":/a"), "/opt/cyclescope::/a");
  EXPECT_EQ(WithHook("/a:/opt/cyclescope"), "/a:/opt/cyclescope");
}

}  // namespace
}  // namespace injector
