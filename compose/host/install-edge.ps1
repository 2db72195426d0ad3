# The edge as a Windows service. Run in an elevated PowerShell; needs Python 3.11 or newer, and NSSM (nssm.cc), which
# makes a service of any program, restarts it when it ends and stops it with Ctrl-C, so that what is in hand is finished.
#
# From a checkout of this project, in this folder:
#
#   .\install-edge.ps1 -Gateway https://gateway.lab -Code CODE -Folder D:\images -Output D:\results
param(
    [Parameter(Mandatory)] [string] $Gateway,
    [Parameter(Mandatory)] [string] $Code,
    [Parameter(Mandatory)] [string] $Folder,
    [Parameter(Mandatory)] [string] $Output,
    [string] $Package = "$PSScriptRoot\..\..",
    [string] $Home_ = "$env:ProgramData\cytobus"
)
$ErrorActionPreference = "Stop"
if (-not (Get-Command nssm -ErrorAction SilentlyContinue)) { throw "nssm is not on the PATH: install it first" }

# PowerShell goes on after programs that fail.
function Invoke-Checked([string] $Program) {
    & $Program @args
    if ($LASTEXITCODE -ne 0) { throw "$Program $args ended with $LASTEXITCODE" }
}

New-Item -ItemType Directory -Force -Path $Home_, "$Home_\data" | Out-Null
Invoke-Checked py -3 -m venv "$Home_\venv"
Invoke-Checked "$Home_\venv\Scripts\python.exe" -m pip install --quiet $Package

# TOML's single quotes keep backslashes as they are.
$settings = @"
log_json = true

[edge]
gateway = '$Gateway'
folders = ['$Folder']
output = '$Output'
"@
# UTF-8 without a byte order mark, which TOML does not know.
[IO.File]::WriteAllText("$Home_\edge.toml", $settings)

$program = "$Home_\venv\Scripts\cytobus.exe"
# The code is what "cytobus edges invite" has printed at the gateway; it says what this instrument is called there.
Invoke-Checked $program enroll $Gateway $Code --data "$Home_\data"
Invoke-Checked nssm install cytobus-edge $program edge --config "$Home_\edge.toml" --data "$Home_\data"
nssm set cytobus-edge AppStderr "$Home_\edge.log"
nssm set cytobus-edge AppStdout "$Home_\edge.log"
nssm set cytobus-edge AppRotateFiles 1
nssm set cytobus-edge AppRotateBytes 10485760
nssm set cytobus-edge AppStopMethodConsole 30000
nssm set cytobus-edge AppExit Default Restart
nssm set cytobus-edge Start SERVICE_AUTO_START
Invoke-Checked nssm start cytobus-edge

# Without NSSM a scheduled task does nearly the same: it starts with the machine and is started again when it ends.
#   $action  = New-ScheduledTaskAction -Execute $program -Argument "edge --config $Home_\edge.toml --data $Home_\data"
#   $again   = New-ScheduledTaskSettingsSet -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1) -ExecutionTimeLimit 0
#   Register-ScheduledTask cytobus-edge -Action $action -Trigger (New-ScheduledTaskTrigger -AtStartup) -Settings $again -User SYSTEM
