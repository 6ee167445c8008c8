# On the machine on loan, sourced from the repository's root: carried wheels installed, room for the processes' shared memory.
export PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE TQDM_DISABLE=1 TORCHINDUCTOR_COMPILE_THREADS=8
export PATH="$(dirname "$(python3 -c 'import sys; print(sys.executable)')"):/usr/local/cuda/bin:$PATH" # ninja and nvcc
# The toolkit that nvcc itself names: torch takes the folder above nvcc's, which is wrong where nvcc on the PATH is a script.
export CUDA_HOME="$(cd "$(nvcc --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')" 2>/dev/null && pwd)"
[ -e "$CUDA_HOME/include/cuda_runtime.h" ] || unset CUDA_HOME
export http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 # nothing outside is reached: a download fails at once
if [ ! -e /tmp/site/.done ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl || exit 1
  touch /tmp/site/.done
fi
export PYTHONPATH="/tmp/site:$PWD"
mount -o remount,size=48G /dev/shm 2>/dev/null || true
nvcc --version | tail -2; echo "CUDA_HOME=$CUDA_HOME"
ninja --version
